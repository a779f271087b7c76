# SPDX-License-Identifier: Apache-2.0
"""The one reader of scans and labels: NIfTI, NRRD and MetaImage, DICOM series and files, two-dimensional pictures.

A file is opened once and read to its end; the array stays in the order of the file, and the affine says where its
voxels lie. World coordinates are RAS in mm everywhere. Training, evaluation, prediction and the check of a data root
read through this module, so that a file which one of them refuses is refused by all, with the same code.
"""

from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from ..core.errors import DataError
from .dicom import is_dicom_file, read_dicom
from .itk_file import ENDINGS as ITK_ENDINGS
from .itk_file import read_itk_file
from .nifti import is_nifti, read_nifti
from .picture import ENDINGS as PICTURE_ENDINGS
from .picture import read_picture
from .resampling import affine_distance_mm
from .scan import Label, Scan
from .stored_file import check_regular, name_of
from .voxels import INTEGER_TOLERANCE, label_faults, scan_faults

__all__ = ["Label", "Scan", "as_label", "is_nifti", "read_label", "read_scan", "read_stored"]
AFFINE_TOLERANCE_MM = 0.1  # between a label and its scan
MASK_SHARE = (0.05, 0.90)  # of a volume that a brain mask covers


def read_scan(path: str | Path, case: str) -> Scan:
    """Read a scan that can be scored.

    Args:
        path: NIfTI, NRRD or MetaImage file, a DICOM file, a folder with one DICOM series, or a PNG, JPEG or TIFF picture.
        case: name put in front of errors.

    Raises:
        DataError: one sentence about what is wrong and what to do, and its code.
    """
    scan = read_stored(path, case)
    for code, what in scan_faults(scan.array):
        raise DataError.of(code, f"{name_of(Path(path))} has {what}", case)
    return scan


def read_stored(path: str | Path, case: str) -> Scan:
    """Return what a file holds, with any finite or infinite voxels; see :func:`read_scan`."""
    path = Path(path)
    name = path.name.lower()
    if path.is_dir():
        return read_dicom(path, case)
    if is_nifti(path):
        return read_nifti(path, case)
    check_regular(path, case)
    if name.endswith(ITK_ENDINGS):
        return read_itk_file(path, case)
    if name.endswith(PICTURE_ENDINGS):
        return read_picture(path, case)
    if is_dicom_file(path):
        return read_dicom(path, case)
    raise DataError.of("not-nifti", f"{name_of(path)} is in no known format", case)


def read_label(path: str | Path, scan: Scan, case: str, kind: str = "mask", threshold: float | None = None) -> Label:
    """Return a brain mask or segmentation as 0/1 in the voxel order of its scan; every label above 0 becomes 1.

    Args:
        path: file in any format that :func:`read_scan` knows; its axes may be stored in another order than the scan's.
        scan: what it belongs to; shape and position (0.1 mm) must agree.
        case: name put in front of errors.
        kind: "mask" (must not be empty) or "seg" (may be).
        threshold: value above which a voxel of an interpolated file counts; None refuses such files.
    """
    path = Path(path)
    return as_label(read_stored(path, case), scan, case, f"the {kind} {name_of(path)}", kind, threshold)


def as_label(
    stored: Scan, scan: Scan, case: str, name: str = "the mask", kind: str = "mask", threshold: float | None = None
) -> Label:
    """Return voxels that were read as 0/1 in the voxel order of their scan; ``name`` stands in errors, see :func:`read_label`."""
    values, affine = _like(stored, scan)
    if values.shape != scan.array.shape:
        what = f"{name} has shape {values.shape}, the image {scan.array.shape}"
        raise DataError.of("grid-shape", what, case)
    apart = affine_distance_mm(affine, scan.affine, list(scan.array.shape))
    if apart > AFFINE_TOLERANCE_MM:
        what = f"{name} lies up to {apart:.3g} mm away from the image (limit {AFFINE_TOLERANCE_MM} mm)"
        raise DataError.of("grid-position", what, case)
    notes = list(stored.note_texts)
    for code, what in label_faults(values):
        if code == "label-merged":
            notes.append(f"labels of the {kind} up to {values.max():g} merged into one")
        elif code != "label-values":
            raise DataError.of(code, f"{name} has {what}", case)
        elif threshold is None:
            raise DataError.of(code, f"{name} has {what} (a label_threshold would cut them)", case)
        elif np.any(np.abs(values - np.rint(values)) > INTEGER_TOLERANCE):
            notes.append(f"interpolated {kind}: voxels above {threshold:g} taken")
    binary = (values > (0.5 if threshold is None else threshold)).astype(np.uint8)
    share = float(binary.mean())
    if kind == "mask" and share == 0:
        raise DataError.of("mask-empty", f"{name} is empty", case)
    if kind == "mask" and not MASK_SHARE[0] <= share <= MASK_SHARE[1]:
        notes.append(f"the brain mask covers {share:.1%} of the volume and looks wrong")
    return Label(binary, tuple(notes))


def _like(label: Scan, scan: Scan) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return array and affine of a label in the axis order and directions of its scan."""
    turn = ornt_transform(io_orientation(label.affine), io_orientation(scan.affine))
    return apply_orientation(label.array, turn), label.affine @ inv_ornt_aff(turn, label.array.shape)
