# SPDX-License-Identifier: Apache-2.0
"""DICOM folders as they come: what cannot be known is said, nothing is assumed."""

from pathlib import Path

import numpy as np
import pytest

from custom.core.errors import DataError
from custom.volumes.dicom import is_dicom_file, is_dicom_series
from custom.volumes.read import read_scan

pydicom = pytest.importorskip("pydicom")
AFFINE = np.diag([-4.0, -4.0, 5.0, 1.0])


@pytest.fixture
def series(tmp_path, brain, write_series) -> Path:
    write_series(tmp_path / "series", brain[:, :, 16:26], AFFINE)
    return tmp_path / "series"


def changed(folder: Path, change, only=lambda number: True) -> Path:
    for number, path in enumerate(sorted(folder.glob("*.dcm"))):
        if only(number):
            data = pydicom.dcmread(path)
            change(data)
            pydicom.dcmwrite(path, data)
    return folder


def refused(path: Path, code: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_scan(path, "case7")
    assert caught.value.code == code
    assert str(caught.value).startswith("case7: ")
    assert "Secret" not in str(caught.value)


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
def test_geometry_that_is_not_stated(series, keyword) -> None:
    refused(changed(series, lambda d: delattr(d, keyword)), "dicom-geometry", f"does not state {keyword}")


@pytest.mark.parametrize("cut", [300, 900, -1, -2, -100])
def test_a_file_cut_short_is_named(series, cut) -> None:
    path = sorted(series.glob("*.dcm"))[4]
    path.write_bytes(path.read_bytes()[:cut])
    refused(series, "damaged", path.name)


def test_a_file_that_is_only_called_dcm_is_named(series) -> None:
    (series / "half.dcm").write_bytes(b"\0" * 50)
    refused(series, "damaged", "half.dcm is no DICOM file")


@pytest.mark.parametrize(
    ("keyword", "values", "word"),
    [
        ("EchoTime", (3.0, 80.0), "EchoTime 3.0, 80.0"),
        ("TemporalPositionIdentifier", (1, 2), "TemporalPositionIdentifier 1, 2"),
        (None, (0, 0), "2 volumes of 10 slices"),
    ],
)
def test_two_volumes_in_one_series(series, tmp_path, keyword, values, word) -> None:
    both = tmp_path / "both"
    both.mkdir()
    for number, value in enumerate(values):
        for path in series.glob("*.dcm"):
            data = pydicom.dcmread(path)
            if keyword:
                setattr(data, keyword, value)
            pydicom.dcmwrite(both / f"{number}{path.name}", data)
    refused(both, "dicom-several", word)


def test_a_doubled_slice(series) -> None:
    path = sorted(series.glob("*.dcm"))[3]
    (series / "again.dcm").write_bytes(path.read_bytes())
    refused(series, "dicom-slices", "11 slices at 10 places")


def test_other_orientations_and_sizes(series) -> None:
    turned = [1.0, 0, 0, 0, 0, 1.0]
    refused(
        changed(series, lambda d: setattr(d, "ImageOrientationPatient", turned), lambda n: n == 2),
        "dicom-several",
        "several orientations",
    )


def test_without_preamble_and_among_other_files(series, brain) -> None:
    expected = read_scan(series, "a").array
    for path in series.glob("*.dcm"):
        raw = path.read_bytes()
        path.write_bytes(raw[132 + 12 + int.from_bytes(raw[140:144], "little") :])
        assert is_dicom_file(path)
    for number in range(6):
        (series / f"A{number}.txt").write_text("x" * 200)
    assert is_dicom_series(series)
    scan = read_scan(series, "a")
    assert np.array_equal(scan.array, expected)
    assert scan.note_texts == ("6 files in the folder that are no DICOM were passed over",)
    assert not is_dicom_file(series / "A0.txt")


def test_nested_folders_are_mentioned(series, tmp_path) -> None:
    (tmp_path / "P" / "ST").mkdir(parents=True)
    series.rename(tmp_path / "P" / "ST" / "SE")
    refused(tmp_path / "P", "dicom-none", "below it, ST/SE hold some")


def test_monochrome1_is_turned_round_with_a_note(series) -> None:
    expected = read_scan(series, "a").array

    def invert(data) -> None:
        data.PhotometricInterpretation = "MONOCHROME1"
        data.PixelData = (4095 - data.pixel_array).astype(np.uint16).tobytes()

    scan = read_scan(changed(series, invert), "a")
    assert np.array_equal(scan.array, expected)
    assert "MONOCHROME1" in scan.note_texts[0]
    refused(
        changed(series, lambda d: setattr(d, "PixelData", (4095 - d.pixel_array).astype(np.uint16).tobytes())),
        "bad-scaling",
        "MONOCHROME1",
    )


def test_slices_shifted_sideways(series) -> None:
    def shift(data) -> None:
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [x, y + 0.3 * z, z]

    refused(changed(series, shift), "dicom-geometry", "shifted sideways")


def test_the_contrast_that_the_description_states(series) -> None:
    assert read_scan(series, "a").contrast == ""
    for text, contrast in (("t2_tse_dark-fluid FLAIR", "flair"), ("sag T1 MPRAGE", "t1"), ("T1 T2 map", "")):
        changed(series, lambda d, text=text: setattr(d, "SeriesDescription", text))
        assert read_scan(series, "a").contrast == contrast


def enhanced(path: Path, array: np.ndarray, echoes: tuple[float, ...] = (10.0,), order=None) -> Path:
    """A multi-frame object with ``array`` once per echo."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.sequence import Sequence
    from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

    def holding(**values) -> Dataset:
        data = Dataset()
        for keyword, value in values.items():
            setattr(data, keyword, value)
        return data

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = EnhancedMRImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = EnhancedMRImageStorage, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = generate_uid(), generate_uid(), "MR"
    data.Rows, data.Columns = array.shape[1], array.shape[0]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    shared = holding(
        PixelMeasuresSequence=Sequence([holding(PixelSpacing=[4.0, 4.0], SliceThickness=5.0)]),
        PlaneOrientationSequence=Sequence([holding(ImageOrientationPatient=[1.0, 0, 0, 0, 1.0, 0])]),
    )
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, pixels = [], []
    for echo in echoes:
        for z in order or range(array.shape[2]):
            frames.append(
                holding(
                    MREchoSequence=Sequence([holding(EffectiveEchoTime=echo)]),
                    PlanePositionSequence=Sequence([holding(ImagePositionPatient=[0.0, 0.0, 5.0 * z])]),
                )
            )
            pixels.append(array[:, :, z].T.round().astype(np.uint16))
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    data.NumberOfFrames = len(frames)
    data.PixelData = np.stack(pixels).tobytes()
    path.parent.mkdir(exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def test_a_multi_frame_file_alone_and_in_its_folder(tmp_path, brain) -> None:
    array = brain[:, :, 16:26]
    path = enhanced(tmp_path / "one" / "e.dcm", array, order=[3, 0, 1, 2, *range(9, 3, -1)])
    for given in (path, path.parent):
        scan = read_scan(given, "a")
        assert np.array_equal(scan.array, array.round())
        assert np.allclose(scan.affine, np.diag([-4.0, -4.0, 5.0, 1.0]))


def test_a_multi_frame_file_with_two_echoes(tmp_path, brain) -> None:
    path = enhanced(tmp_path / "two" / "e.dcm", brain[:, :, 16:26], (10.0, 90.0))
    refused(path, "dicom-several", "2 volumes of 10 slices .EchoTime 10.0, 90.0")


def test_a_multi_frame_file_cut_short_or_without_places(tmp_path, brain) -> None:
    path = enhanced(tmp_path / "one" / "e.dcm", brain[:, :, 16:26])
    data = pydicom.dcmread(path)
    path.write_bytes(path.read_bytes()[:-3000])
    refused(path, "damaged", "cut short")
    del data.PerFrameFunctionalGroupsSequence
    pydicom.dcmwrite(path, data)
    refused(path, "dicom-geometry", "does not state size and place")
