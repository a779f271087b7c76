# SPDX-License-Identifier: Apache-2.0
"""DICOM results lie on the source series and refer to its instances; read back with pydicom and highdicom."""

from pathlib import Path

import numpy as np
import pytest

from custom.prediction.calibration import Calibration, Threshold
from custom.prediction.case_result import CaseResult
from custom.prediction.dicom_out import write_dicom
from custom.prediction.find import ScanSource
from custom.volumes.read import read_scan

pytestmark = [
    pytest.mark.fault(
        65,
        "DICOM without a mandatory tag",
        "NIfTI results are kept, DICOM output is skipped with the reason",
        "foreseen",
    ),
]

highdicom = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
AFFINE = np.array([[-4.0, 0, 0, 90], [0, -3.9, 0.8, 100], [0, 0.8, 3.9, -80], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def series(tmp_path_factory, brain, write_series) -> Path:
    folder = tmp_path_factory.mktemp("dicom") / "series"
    write_series(folder, brain, AFFINE)
    return folder


def result_for(series: Path, empty: bool = False) -> CaseResult:
    scan = read_scan(series, "sub-a")
    scores = scan.array / 400
    mask = np.zeros(scan.array.shape, np.uint8) if empty else (scan.array > 250).astype(np.uint8)
    calibration = Calibration("t1", "l1", {"healthy_fpr_0.01": Threshold(0.5, "x")}, [(0, 0), (1, 1)], None)
    return CaseResult(
        "sub-a", scores, mask, scan.array, scan.affine, {}, np.eye(4), Threshold(0.5, "x"), calibration, (), (), "dicom"
    )


def test_segmentation_and_map_lie_on_the_series(series, tmp_path) -> None:
    import pydicom

    result = result_for(series)
    assert write_dicom(tmp_path, ScanSource("sub-a", series), result, {"method": "m", "model_sha256": "ab" * 32}) == []
    sources = {pydicom.dcmread(f).SOPInstanceUID: pydicom.dcmread(f) for f in series.iterdir()}

    seg = highdicom.seg.segread(tmp_path / "sub-a_desc-anomaly_mask.dcm")
    referenced = {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referenced == set(sources)
    assert seg.FrameOfReferenceUID == next(iter(sources.values())).FrameOfReferenceUID
    uids = [uid for _, _, uid in seg.get_source_image_uids()]
    frames = seg.get_pixels_by_source_instance(uids, combine_segments=True)
    for uid, frame in zip(uids, frames, strict=True):
        assert np.array_equal(frame, sources[uid].pixel_array > 250)  # frame by frame on the very slice

    heat = highdicom.pm.pmread(tmp_path / "sub-a_desc-anomaly_map.dcm") if hasattr(highdicom.pm, "pmread") else None
    heat = heat or pydicom.dcmread(tmp_path / "sub-a_desc-anomaly_map.dcm")
    pixels = np.frombuffer(heat.FloatPixelData, dtype="<f4").reshape(int(heat.NumberOfFrames), heat.Rows, heat.Columns)
    for frame, item in zip(pixels, heat.PerFrameFunctionalGroupsSequence, strict=True):
        uid = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert np.allclose(frame, sources[uid].pixel_array / 400, atol=2e-3)


@pytest.mark.fault(126)
def test_the_reason_of_a_library_does_not_quote_the_patient(series, tmp_path, monkeypatch) -> None:
    def refuse(hd, sources, *rest):
        raise ValueError(f"{sources[0].PatientName} of {sources[0].StudyDate} has no Rows")

    monkeypatch.setattr("custom.prediction.dicom_out._parametric_map", refuse)
    (note,) = write_dicom(tmp_path, ScanSource("sub-a", series), result_for(series), {})
    assert note == "no DICOM anomaly map: the source series does not allow it (*** of *** has no Rows)"


def test_empty_mask_becomes_a_note(series, tmp_path) -> None:
    notes = write_dicom(tmp_path, ScanSource("sub-a", series), result_for(series, empty=True), {})
    assert notes == ["no DICOM segmentation: the mask is empty"]
    assert not (tmp_path / "sub-a_desc-anomaly_mask.dcm").exists()
    assert (tmp_path / "sub-a_desc-anomaly_map.dcm").exists()


def test_source_without_frame_of_reference_costs_dicom_only(series, tmp_path) -> None:
    import pydicom

    bare = tmp_path / "bare"
    bare.mkdir()
    for file in series.iterdir():
        data = pydicom.dcmread(file)
        del data.FrameOfReferenceUID
        data.save_as(bare / file.name)
    notes = write_dicom(tmp_path, ScanSource("sub-a", bare), result_for(series), {})
    assert len(notes) == 2
    assert all("source series does not allow it" in note for note in notes)
    assert not list(tmp_path.glob("*.dcm"))
