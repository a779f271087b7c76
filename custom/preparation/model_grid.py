# SPDX-License-Identifier: Apache-2.0
"""The model's grid for any scan, and the way back.

The grid has RAS axes, 96x96x50 voxels of 2 mm, and lies around the brain: its centre is that of the mask's bounding box
in world coordinates, moved by :data:`CENTRE_OFFSET_MM`, the mean over 60 prepared IXI scans of the distance between
the centre of the training volumes and that of their masks. Scans of 2 or 1 mm with axes along the world's are cut and
halved exactly as in training (:mod:`custom.preparation.prepare`); if they lie as the training scans do (:data:`CENTRED_MM`)
even at the same place, so that a prepared scan gives the very volume that training and evaluation see. All others are
smoothed and interpolated (:mod:`.resampling`). Head size is not normalised: that would need a registration.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.errors import DataError
from ..volumes.grid import halve_bspline, halve_majority, halve_mean, halved_affine, start_index
from ..volumes.resampling import Affine, Floats, needed_part, resample, spacing_of, to_closest_ras
from .prepare import Preparation, curvature_flow, scaled_to_percentiles

Mask = NDArray[np.uint8]
CENTRE_OFFSET_MM = np.array([0.0, 0.6, 2.0])
CENTRED_MM = 8.0
_ALIGNED = 1e-3


@dataclass(frozen=True, eq=False)
class OnGrid:
    """A scan as the model sees it.

    Attributes:
        image: ``[X, Y, Z]`` in [0, 1], zero outside the mask.
        mask: brain mask, 0 or 1.
        affine: voxels of the grid to world (mm).
        intensity_range: intensities of the scan that became 0 and 1.
        mask_ml: volume of the brain mask in the scan, also outside the grid.
    """

    image: Floats
    mask: Mask
    affine: Affine
    intensity_range: tuple[float, float]
    mask_ml: float


def to_model_grid(image: Floats, mask: NDArray[Any] | None, affine: Affine, how: Preparation, case: str) -> OnGrid:
    """Bring a scan ``[X, Y, Z]`` of any orientation, obliqueness and spacing to the model's grid.

    Args:
        image: intensities; without a mask zero outside the brain.
        mask: brain where > 0, or None: the largest connected part of the voxels that are not zero.
        affine: voxels to world (RAS, mm).
        how: preparation of the training scans: grid, percentiles, smoothing.
        case: name put in front of errors.

    Raises:
        DataError: empty mask, no contrast inside the brain.
    """
    values, ras = to_closest_ras(np.asarray(image, dtype=np.float32), affine)
    brain = _largest_part(values != 0) if mask is None else to_closest_ras(np.asarray(mask) > 0, affine)[0]
    if not brain.any():
        raise DataError("the brain mask is empty: nothing to score; check the mask file", case=case)
    mask_ml = float(brain.sum()) * float(abs(np.linalg.det(ras[:3, :3]))) / 1000
    factor = _whole_factor(ras, how.spacing_mm)
    if how.smoothing == "curvature_flow" and (factor != 1 or how.smooth_working_grid):
        spacing = tuple(float(s) for s in spacing_of(ras))
        values = curvature_flow(values, spacing, how.smoothing_steps, how.smoothing_time_step)  # type: ignore[arg-type]
    if factor is None:
        return _interpolated(values, brain, ras, how, case, mask_ml)
    return _cut(values, brain, ras, how, case, mask_ml, factor)


def _cut(
    values: Floats, brain: NDArray[Any], ras: Affine, how: Preparation, case: str, mask_ml: float, factor: int
) -> OnGrid:
    shape = np.array(how.shape) * factor
    start = np.rint(np.linalg.inv(ras)[:3] @ np.append(_centre(brain, ras), 1) - (shape - 1) / 2).astype(int)
    centred = np.array([start_index(have, want) for have, want in zip(values.shape, shape, strict=True)])
    if np.all(np.abs(start - centred) * spacing_of(ras) <= CENTRED_MM):
        start = centred
    image, inside = (_block(array, start, shape) for array in (values, brain.astype(np.uint8)))
    grid = ras.copy()
    grid[:3, 3] += ras[:3, :3] @ start
    image = scaled_to_percentiles(image, inside, how.percentiles, case)
    limits = _limits(_block(values, start, shape), inside, how)
    if factor == 2:
        image = halve_mean(image) if how.image_halving == "mean" else halve_bspline(image)
        inside, grid = halve_majority(inside), halved_affine(grid)
    if how.clip_and_mask:
        image = np.clip(image, 0, 1) * inside
    return OnGrid(np.asarray(image, dtype=np.float32), inside, grid, limits, mask_ml)


def _interpolated(
    values: Floats, brain: NDArray[Any], ras: Affine, how: Preparation, case: str, mask_ml: float
) -> OnGrid:
    grid = np.diag([how.spacing_mm] * 3 + [1.0])
    grid[:3, 3] = _centre(brain, ras) - (np.array(how.shape) - 1) / 2 * how.spacing_mm
    to_scan = np.asarray(np.linalg.inv(ras) @ grid, dtype=np.float64)
    values, part = needed_part(values, to_scan, how.shape)
    brain, _ = needed_part(brain, to_scan, how.shape)
    ras = ras.copy()
    ras[:3, 3] += ras[:3, :3] @ part
    seen = brain.astype(np.uint8) * _inside_grid(brain.shape, ras, grid, how.shape)
    limits = _limits(values, seen, how)
    scaled = scaled_to_percentiles(values, seen, how.percentiles, case)
    inside = (resample(brain, ras, grid, how.shape) > 0.5).astype(np.uint8)
    if not inside.any():
        raise DataError("the brain mask is empty on the model's grid: too small; check the mask file", case=case)
    image = np.clip(resample(scaled * brain, ras, grid, how.shape), 0, 1) * inside
    return OnGrid(image.astype(np.float32), inside, grid, limits, mask_ml)


def _limits(values: Floats, inside: Mask, how: Preparation) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(values[inside > 0], how.percentiles))
    return low, high


def _whole_factor(ras: Affine, spacing_mm: float) -> int | None:
    """Return 1 or 2 if the scan's voxels are the grid's or their halves and its axes the world's, else None."""
    spacing = spacing_of(ras)
    if np.abs(ras[:3, :3] / spacing - np.eye(3)).max() > _ALIGNED:
        return None
    return next((f for f in (1, 2) if np.allclose(spacing * f, spacing_mm, rtol=_ALIGNED, atol=0)), None)


def _centre(brain: NDArray[Any], ras: Affine) -> Affine:
    """Return where the grid's centre belongs (world, mm): extremes of a linear function lie at the ends of lines."""
    x, y = np.nonzero(brain.any(axis=2))
    lines = brain[x, y]
    first, last = lines.argmax(axis=1), brain.shape[2] - 1 - lines[:, ::-1].argmax(axis=1)
    points = np.stack([np.tile(x, 2), np.tile(y, 2), np.concatenate([first, last])])
    world = ras[:3, :3] @ points + ras[:3, 3:]
    return (world.min(axis=1) + world.max(axis=1)) / 2 + CENTRE_OFFSET_MM  # type: ignore[no-any-return]


def _largest_part(foreground: NDArray[np.bool_]) -> NDArray[Any]:
    labels, count = ndimage.label(foreground)
    if count < 2:
        return foreground
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1  # type: ignore[no-any-return]


def _inside_grid(shape: tuple[int, ...], ras: Affine, grid: Affine, grid_shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which voxels of the scan have their centre inside the grid."""
    to_grid = np.linalg.inv(grid) @ ras
    inside = np.ones(shape, dtype=bool)
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    for axis, size in enumerate(grid_shape):
        place = sum(np.float32(to_grid[axis, k]) * axes[k] for k in range(3)) + np.float32(to_grid[axis, 3])
        inside &= (place >= -0.5) & (place <= size - 0.5)
    return inside


def _block(array: NDArray[Any], start: NDArray[Any], shape: NDArray[Any]) -> NDArray[Any]:
    """Return ``array[start : start + shape]`` with zeros where it reaches beyond the array."""
    result = np.zeros(tuple(shape), dtype=array.dtype)
    low, high = np.maximum(start, 0), np.minimum(start + shape, array.shape)
    if np.all(high > low):
        to = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        result[to] = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return result
