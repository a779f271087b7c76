# SPDX-License-Identifier: Apache-2.0
"""Read one scan in its own voxel order: NIfTI behind the gate of :mod:`custom.volumes.volume_io`, the rest by ITK.

World coordinates are RAS in mm everywhere; ITK's LPS is converted at this door.
"""

from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from numpy.typing import NDArray

from ..core.errors import DataError
from .itk_io import read_with_itk
from .nifti_header import affine_distance_mm
from .volume_io import Volume, read_volume
from .volume_io import read_label as read_nifti_label

NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan as its file stores it.

    Attributes:
        array: float32 ``[X, Y, Z]`` in the order of the file.
        affine: voxels to world (RAS, mm).
        kind: "nifti", "itk" or "dicom".
        notes: what a reader of the report should know about the file.
        files: source files of a DICOM series in the order of the slices.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    kind: str
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=())


def is_nifti(path: Path) -> bool:
    """Tell by the name whether a file is NIfTI."""
    return path.name.lower().endswith(NIFTI)


def read_scan(path: str | Path, case: str) -> Scan:
    """Read a scan.

    Args:
        path: NIfTI, NRRD or MetaImage file, or a folder with one DICOM series.
        case: name put in front of errors.

    Raises:
        DataError: one sentence about what is wrong and what to do.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path.name} does not exist; check the path", case=case)
    if not is_nifti(path):
        return Scan(*read_with_itk(path, case))
    volume = read_volume(path, case)
    affine = _file_affine(path, volume)
    return Scan(_as_stored(volume.array, affine), affine, "nifti", volume.notes)


@dataclass(frozen=True, eq=False)
class Label:
    """A brain mask or segmentation on the grid of its scan.

    Attributes:
        array: uint8, 0 or 1, in the voxel order of the scan.
        notes: what a reader of the report should know about the file.
    """

    array: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def read_label(path: str | Path, scan: Scan, case: str, kind: str = "mask", threshold: float | None = None) -> Label:
    """Read a brain mask ("mask") or a segmentation ("seg") in the voxel order of ``scan``; see :mod:`.volume_io`."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"the {kind} {path.name} does not exist; check the path", case=case)
    ras = apply_orientation(scan.array, io_orientation(scan.affine))
    ras_affine = scan.affine @ nib.orientations.inv_ornt_aff(io_orientation(scan.affine), scan.array.shape)
    spacing = np.linalg.norm(ras_affine[:3, :3], axis=0)
    like = Volume(ras, ras_affine, (float(spacing[0]), float(spacing[1]), float(spacing[2])))
    if is_nifti(path):
        label = read_nifti_label(path, like, case, kind, threshold)
        return Label(_as_stored(label.array, scan.affine).astype(np.uint8), label.notes)
    other = read_scan(path, case)
    if (
        other.array.shape != scan.array.shape
        or affine_distance_mm(other.affine, scan.affine, [*scan.array.shape]) > 0.1
    ):
        raise DataError(
            f"the {kind} {path.name} lies on another grid than the scan; resample it to the scan", case=case
        )
    return Label((other.array > 0.5).astype(np.uint8))


def _file_affine(path: Path, volume: Volume) -> NDArray[np.float64]:
    """Return the affine of the stored voxels; the gate has checked it and gives that of the reoriented ones."""
    header = nib.load(path).header
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    shape = tuple(int(n) for n in header.get_data_shape()[:3])
    ras = affine @ nib.orientations.inv_ornt_aff(io_orientation(affine), shape)
    if not np.allclose(ras, volume.affine, atol=1e-4):  # nibabel chose another of the header's matrices
        raise DataError(f"{path.name}: sform and qform contradict each other; correct the header")
    return affine


def _as_stored(ras: NDArray[np.generic], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    back = ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), io_orientation(affine))
    return np.ascontiguousarray(apply_orientation(ras, back))
