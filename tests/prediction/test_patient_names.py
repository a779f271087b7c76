# SPDX-License-Identifier: Apache-2.0
"""What a DICOM series says about people and places reaches nothing but DICOM files, which belong to the same patient."""

import gzip
import warnings

import pytest

from custom.prediction.predictor import predict_batch
from tests.model_fixtures import blurring_model
from tests.prediction.test_predictor import LAS, write_scan

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
SECRET = "Zqxjane"
TEXTS = (
    *("PatientName", "PatientID", "OtherPatientNames", "PatientAddress", "PatientComments", "PatientMotherBirthName"),
    *("InstitutionName", "InstitutionAddress", "StationName", "DeviceSerialNumber", "AccessionNumber", "StudyID"),
    *("ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName", "RequestingPhysician", "ProtocolName"),
    *(
        "StudyDescription",
        "SeriesDescription",
        "ImageComments",
        "RequestedProcedureDescription",
        "DerivationDescription",
    ),
)


@pytest.mark.fault(
    126,
    "names, addresses, numbers and comments in the tags of a DICOM series, of one that is scored and of one that is refused",
    "in no NIfTI file, table, page, JSON file or message; DICOM results carry the patient, as the standard asks",
    "mended",
)
def test_no_text_of_a_series_leaves_dicom(tmp_path, write_series, capsys):
    import nibabel as nib

    scan = nib.load(write_scan(tmp_path / "scan.nii.gz", LAS))
    for name in ("good", "bad"):
        for file in write_series(tmp_path / "in" / name, scan.get_fdata(), LAS):
            data = pydicom.dcmread(file)
            for keyword in TEXTS:
                setattr(data, keyword, f"{SECRET}"[:16])
            data.PatientBirthDate, data.StudyDate = "19010203", "20990807"
            data.private_block(0x0011, SECRET, create=True).add_new(0x01, "LO", SECRET)
            if name == "bad":
                del data.PixelSpacing
            data.save_as(file)
    out = tmp_path / "out"
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        records = predict_batch(
            blurring_model(tmp_path / "model"),
            tmp_path / "in",
            out,
            output_format="dicom",
            extractor="none",
            viewer="none",
        )
    assert [record["status"] for record in records] == ["failed", "done"]
    said = capsys.readouterr()
    found = {"messages": (said.out + said.err + "".join(str(one.message) for one in warned)).encode()} | {
        str(path.relative_to(out)): gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix != ".dcm"
    }
    assert sum(name.endswith((".json", ".html", ".tsv", ".nii.gz")) for name in found) > 5
    for text in (SECRET, "19010203", "1901-02-03", "20990807", "2099-08-07"):
        assert [name for name, content in found.items() if text.lower().encode() in content.lower()] == []
