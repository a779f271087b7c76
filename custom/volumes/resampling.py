# SPDX-License-Identifier: Apache-2.0
"""From one voxel grid to another, through world coordinates (RAS, mm), by scipy's affine resampling.

Before a coarser grid is sampled, the scan is smoothed so that its points are as wide as the new voxels: along an axis
of spacing s a Gaussian of full width at half maximum sqrt(t² - s²) turns points of width s into points of width t
(Cardoso et al., MICCAI 2015, "Scale factor point spread function matching"). Arrays are ``[X, Y, Z]``, affines 4x4.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Affine = NDArray[np.float64]
_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


def spacing_of(affine: Affine) -> Affine:
    """Return the voxel size in mm along the three array axes."""
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0), dtype=np.float64)


def voxel_ml_of(affine: Affine) -> float:
    """Return the volume of a voxel in ml."""
    return abs(float(np.linalg.det(affine[:3, :3]))) / 1000


def to_closest_ras(array: NDArray[Any], affine: Affine) -> tuple[NDArray[Any], Affine]:
    """Flip and exchange axes until they point as nearly right, anterior, superior as they can; nothing is resampled."""
    orientation = io_orientation(affine)
    return apply_orientation(array, orientation), np.asarray(affine @ inv_ornt_aff(orientation, array.shape))


def resample(
    array: NDArray[np.generic], affine: Affine, to_affine: Affine, to_shape: Sequence[int], antialias: bool = True
) -> Floats:
    """Return ``array`` on another grid by trilinear interpolation; zero outside the source.

    ``antialias`` smooths it first along the axes that are finer than the wanted grid.
    """
    to_source = np.linalg.inv(affine) @ to_affine
    part, start = needed_part(array, to_source, to_shape)
    values: Floats = np.asarray(part, dtype=np.float32)
    if antialias:
        sigmas = _antialias_sigmas(affine, to_affine)
        if sigmas.any():
            values = ndimage.gaussian_filter(values, sigmas, mode="nearest", truncate=3)
    result = np.zeros([int(n) for n in to_shape], dtype=np.float32)
    box, first = _reached_part(values, start, to_source, to_shape)
    if result[box].size:
        matrix = to_source[:3, :3]
        offset = to_source[:3, 3] - start + matrix @ first
        ndimage.affine_transform(values, matrix, offset, output=result[box], order=1, mode="grid-constant", cval=0.0)
    return result


def _reached_part(
    values: Floats, start: Affine, to_source: Affine, to_shape: Sequence[int]
) -> tuple[tuple[slice, ...], Affine]:
    """Return the box of the wanted grid outside which every voxel is zero, and its first index.

    ``start`` is the place of ``values`` in the source.
    """
    filled = [np.flatnonzero(values.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    if not filled[0].size:
        return (slice(0, 0),) * 3, np.zeros(3)
    ends = [(first + places[0] - 1, first + places[-1] + 1) for first, places in zip(start, filled, strict=True)]
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    to_wanted = np.linalg.inv(to_source)
    places = to_wanted[:3, :3] @ corners + to_wanted[:3, 3:]
    low = np.clip(np.floor(places.min(axis=1)), 0, to_shape).astype(int)
    high = np.clip(np.ceil(places.max(axis=1)) + 1, low, to_shape).astype(int)
    return tuple(slice(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True)), low.astype(np.float64)


def _antialias_sigmas(affine: Affine, to_affine: Affine) -> Affine:
    """Return the Gaussian's sigma in voxels per source axis; the new voxel's extent is taken along that axis."""
    have = spacing_of(affine)
    cosines = (affine[:3, :3] / have).T @ to_affine[:3, :3]
    want = np.linalg.norm(cosines, axis=1)
    return np.sqrt(np.maximum(want**2 - have**2, 0)) / _FWHM_PER_SIGMA / have  # type: ignore[no-any-return]


def needed_part(array: NDArray[Any], to_source: Affine, to_shape: Sequence[int]) -> tuple[NDArray[Any], Affine]:
    """Return the part of ``array`` that the wanted grid reads, with a margin for smoothing, and its first index.

    ``to_source`` leads from the wanted voxels to those of ``array``.
    """
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in to_shape], indexing="ij")).reshape(3, -1)
    places = to_source[:3, :3] @ corners + to_source[:3, 3:]
    margin = 2 + np.ceil(2 * np.linalg.norm(to_source[:3, :3], axis=1))
    low = np.clip(np.floor(places.min(axis=1)) - margin, 0, np.array(array.shape) - 1).astype(int)
    high = np.clip(np.ceil(places.max(axis=1)) + margin + 1, low + 1, array.shape).astype(int)
    part = array[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    return part, low.astype(np.float64)


def affine_distance_mm(first: Affine, second: Affine, shape: Sequence[int]) -> float:
    """Return the largest distance in mm between the eight corners of a grid under two voxel-to-world matrices."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[:3]], indexing="ij")).reshape(3, -1)
    shift = (first[:3, :3] - second[:3, :3]) @ corners + (first[:3, 3:] - second[:3, 3:])
    return float(np.linalg.norm(shift, axis=0).max())
