# SPDX-License-Identifier: Apache-2.0
"""Read scans, brain masks and lesion masks from NIfTI, reoriented to RAS by their header, or say what is wrong.

No resampling here: axes are flipped and exchanged only (as ``nibabel.as_closest_canonical`` does), and the affine goes
along. At most the bytes that the header announces are decompressed, so a gzip bomb stops at the header's size.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from ..core.errors import DataError
from .nifti_header import DAMAGED, NiftiLayout, affine_distance_mm, open_nifti, read_layout

MAX_VOXELS = 1024**3
_AFFINE_TOLERANCE_MM = 0.1
_INTEGER_TOLERANCE = 1e-3
_MASK_SHARE = (0.05, 0.90)


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan in RAS axes.

    Attributes:
        array: ``[X, Y, Z]``, float32 for images, uint8 (0 or 1) for labels.
        affine: 4x4, voxel index to world mm.
        spacing: voxel size in mm along X, Y, Z.
        notes: what a reader of the report should know about the file.
    """

    array: NDArray[np.float32] | NDArray[np.uint8]
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float]
    notes: tuple[str, ...] = ()


def read_volume(path: str | Path, case: str, max_voxels: int = MAX_VOXELS, require_signal: bool = True) -> Volume:
    """Return a 3-D scan as float32.

    Args:
        path: NIfTI file (.nii or .nii.gz).
        case: name put in front of every error.
        max_voxels: limit for the size that the header claims, tested before memory is taken.
        require_signal: refuse constant images.

    Raises:
        DataError: with one sentence about what is wrong with the file and what to do.
    """
    path = Path(path)
    with open_nifti(path, case) as file:
        layout, start = read_layout(file, path, case, max_voxels)
        try:
            raw = start + file.read(max(0, layout.nbytes - len(start)))
            if len(raw) >= layout.nbytes:
                file.read(1)  # reaches the end of a gzip member, where its checksum is compared
        except DAMAGED as error:
            raise DataError(f"{path} is truncated or damaged ({error}); copy it again", case=case) from error
    if len(raw) < layout.nbytes:
        raise DataError(
            f"{path} is truncated: {len(raw)} of {layout.nbytes} bytes; copy or download it again", case=case
        )
    voxels = _scaled(layout, raw)
    bad = ~np.isfinite(voxels)
    if bad.any():
        first = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
        raise DataError(
            f"{path} has {int(bad.sum())} NaN or infinite voxels, the first at index {first}; one of them would spoil "
            "the whole map. Repair the file (0 outside the brain) or leave the case out",
            case=case,
        )
    if require_signal and voxels.min() == voxels.max():
        raise DataError(f"{path} has no signal: every voxel is {voxels.flat[0]:g}; export the scan again", case=case)
    orientation = io_orientation(layout.affine)
    affine = layout.affine @ inv_ornt_aff(orientation, layout.shape)
    x, y, z = (float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    array: NDArray[np.float32] = np.ascontiguousarray(apply_orientation(voxels, orientation))
    return Volume(array, affine, (x, y, z), layout.notes)


def read_label(path: str | Path, like: Volume, case: str, kind: str = "mask", threshold: float | None = None) -> Volume:
    """Return a brain mask or segmentation as uint8 0/1 on the grid of its image; every label above 0 becomes 1.

    Args:
        path: NIfTI file.
        like: image that it belongs to; shape and position (0.1 mm) must agree.
        case: name put in front of every error.
        kind: "mask" (must not be empty) or "seg" (may be).
        threshold: value above which a voxel of an interpolated file counts; None refuses such files.
    """
    path = Path(path)
    label = read_volume(path, case, max_voxels=max(MAX_VOXELS, like.array.size), require_signal=False)
    if label.array.shape != like.array.shape:
        raise DataError(
            f"the {kind} {path.name} has shape {label.array.shape}, the image {like.array.shape}; resample the {kind} "
            "to the image with nearest neighbours",
            case=case,
        )
    apart = affine_distance_mm(label.affine, like.affine, list(like.array.shape))
    if apart > _AFFINE_TOLERANCE_MM:
        raise DataError(
            f"the {kind} {path.name} lies up to {apart:.3g} mm away from the image (limit {_AFFINE_TOLERANCE_MM} mm); "
            f"the {kind} belongs to another grid: resample it to the image",
            case=case,
        )
    values, notes = label.array, list(label.notes)
    fractional = np.abs(values - np.rint(values)) > _INTEGER_TOLERANCE
    if threshold is None and (fractional.any() or values.min() < -_INTEGER_TOLERANCE):
        example = float(values[fractional].flat[0]) if fractional.any() else float(values.min())
        raise DataError(
            f"the {kind} {path.name} has values such as {example:.3g}, not whole labels from 0 up: interpolated, and "
            " 'above 0' would make it larger. Resample it again with nearest neighbours, or state label_threshold",
            case=case,
        )
    binary = (values > (0.5 if threshold is None else threshold)).astype(np.uint8)
    if fractional.any():
        notes.append(f"interpolated {kind}: voxels above {threshold:g} taken")
    elif values.max() > 1 and np.unique(np.rint(values)).size > 2:
        notes.append(f"labels of the {kind} up to {values.max():g} merged into one")
    share = float(binary.mean())
    if kind == "mask" and share == 0:
        raise DataError(f"the brain mask {path.name} is empty: nothing to score; make the mask again", case=case)
    if kind == "mask" and not _MASK_SHARE[0] <= share <= _MASK_SHARE[1]:
        notes.append(f"the brain mask covers {share:.1%} of the volume and looks wrong")
    return Volume(binary, like.affine, like.spacing, tuple(notes))


def _scaled(layout: NiftiLayout, raw: bytes) -> NDArray[np.float32]:
    stored = np.ndarray(layout.shape, layout.dtype, buffer=raw, offset=layout.offset, order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        if layout.slope == 1 and layout.intercept == 0:
            return stored.astype(np.float32)
        return (stored * np.float64(layout.slope) + layout.intercept).astype(np.float32)
