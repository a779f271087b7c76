# SPDX-License-Identifier: Apache-2.0
"""A brain-like phantom, and a DICOM series of it written with pydicom, independent of the readers under test."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="session")
def brain() -> np.ndarray:
    """Ellipsoid of 1.3 l at 4 mm with texture, zero outside; bright block on its left (low x), front, top."""
    index = np.stack(np.meshgrid(*map(np.arange, (48, 56, 44)), indexing="ij"), axis=-1)
    inside = ((((index - [23.5, 27.5, 21.5]) * 4 / [62, 80, 62]) ** 2).sum(-1)) < 1
    texture = 100 + 20 * np.sin(index[..., 0] / 3) + 15 * np.cos(index[..., 1] / 4) + 5 * np.sin(index[..., 2] / 2)
    image = np.where(inside, texture, 0).astype(np.float32)
    image[14:18, 36:40, 26:30] = 300
    return image


@pytest.fixture(scope="session")
def write_series() -> Callable[..., list[Path]]:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    def write(folder: Path, array: np.ndarray, affine: np.ndarray, skip: tuple[int, ...] = ()) -> list[Path]:
        """Write ``array`` ``[X, Y, Z]`` with its RAS ``affine``; slices in ``skip`` are left out."""
        folder.mkdir(parents=True, exist_ok=True)
        lps = LPS @ affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        row, column = lps[:3, 0] / spacing[0], lps[:3, 1] / spacing[1]
        series, study, frame = generate_uid(), generate_uid(), generate_uid()
        files = []
        for z in range(array.shape[2]):
            if z in skip:
                continue
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = MRImageStorage
            meta.MediaStorageSOPInstanceUID = generate_uid()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            path = folder / f"{generate_uid()[-12:]}.dcm"
            data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
            data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
            data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = series, study, frame
            data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = "Secret^Name", "S1", "", "O"
            data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20200101", "120000", "1", ""
            data.ReferringPhysicianName, data.Manufacturer, data.Modality = "", "none", "MR"
            data.SeriesNumber, data.InstanceNumber, data.PositionReferenceIndicator = 1, z + 1, ""
            data.ImageType = ["ORIGINAL", "PRIMARY", "M"]
            data.ImagePositionPatient = [float(v) for v in lps[:3, 3] + lps[:3, 2] * z]
            data.ImageOrientationPatient = [float(v) for v in (*row, *column)]
            data.PixelSpacing = [float(spacing[1]), float(spacing[0])]
            data.SliceThickness = float(spacing[2])
            pixels = np.ascontiguousarray(array[:, :, z].T.round().astype(np.uint16))
            data.Rows, data.Columns = pixels.shape
            data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
            data.BitsAllocated = data.BitsStored = 16
            data.HighBit, data.PixelRepresentation = 15, 0
            data.PixelData = pixels.tobytes()
            pydicom.dcmwrite(path, data, enforce_file_format=True)
            files.append(path)
        return files

    return write
