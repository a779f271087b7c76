# SPDX-License-Identifier: Apache-2.0
"""Scans that are already in memory: NIfTI images of nibabel, NumPy arrays and torch tensors, held to what files are held to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import ConfigError, DataError
from .limits import check_spacing
from .scan import Scan
from .voxels import scan_faults


def scan_in_memory(
    image: Any, case: str, affine: ArrayLike | None = None, spacing_mm: Sequence[float] | None = None
) -> Scan:
    """Return a scan that can be scored.

    Args:
        image: nibabel image, or array or tensor ``[X, Y, Z]`` of numbers.
        case: name put in front of errors.
        affine: ``[4, 4]``, voxels to world (RAS, mm); None takes that of the image, if it has one.
        spacing_mm: voxel size along the axes, instead of ``affine``; the axes are then taken as RAS: the first points to
            the patient's right, the second to the front, the third up.

    Raises:
        ConfigError: where the voxels lie is not stated, or stated twice.
        DataError: the voxels or the affine cannot be those of a scan.

    >>> volume = np.random.default_rng(0).normal(100, 10, (8, 8, 4))
    >>> scan_in_memory(volume, "example", spacing_mm=(1, 1, 3)).spacing_mm
    (1.0, 1.0, 3.0)
    """
    scan = stored_in_memory(image, case, affine, spacing_mm)
    for code, what in scan_faults(scan.array):
        raise DataError.of(code, f"the array has {what}", case)
    return scan


def stored_in_memory(
    image: Any, case: str, affine: ArrayLike | None = None, spacing_mm: Sequence[float] | None = None
) -> Scan:
    """Return what ``image`` holds, with any voxels, for a mask; see :func:`scan_in_memory`."""
    values = np.asarray(image.dataobj if hasattr(image, "dataobj") else image)
    if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "biuf":
        raise DataError(
            f"a scan must be numbers [X, Y, Z], got {type(image).__name__} {list(values.shape)} of {values.dtype}; take one "
            "volume, without batch and channel",
            case=case,
        )
    placed = _affine(getattr(image, "affine", None) if affine is None else affine, spacing_mm, case, affine is not None)
    check_spacing(placed, "the array", case)
    return Scan(values.astype(np.float32), placed, "array")


def _affine(affine: Any, spacing_mm: Sequence[float] | None, case: str, stated: bool) -> NDArray[np.float64]:
    if stated and spacing_mm is not None:
        raise ConfigError(f"{case}: affine and spacing_mm both say where the voxels lie; give one of them.")
    if spacing_mm is not None:
        spacing = np.asarray(spacing_mm, dtype=np.float64)
        if spacing.shape != (3,):
            raise ConfigError(f"{case}: spacing_mm must be three numbers (x, y, z in mm), got {spacing_mm!r}.")
        return np.diag([*spacing, 1.0])
    if affine is None:
        raise ConfigError(
            f"{case}: an array does not say where its voxels lie. Give affine=... (4 x 4, voxels to RAS in mm), or, if its axes "
            "point to the patient's right, front and top, spacing_mm=(x, y, z)."
        )
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise DataError(f"the affine must be an invertible 4 x 4 matrix, got {np.asarray(affine).tolist()}", case=case)
    return matrix
