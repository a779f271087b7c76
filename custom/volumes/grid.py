# SPDX-License-Identifier: Apache-2.0
"""From the 1 mm scan to the working grid: a block of it, and halving of images and labels.

A working voxel k covers the source voxels 2k and 2k+1, so its centre lies at source index 2k + 1/2. Arrays are
``[X, Y, Z]``, affines 4x4 voxel-to-world in mm. Halving by B-spline is three small matrix products, one per axis;
checked against SimpleITK's ``sitkBSpline`` resampling and scipy.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def block(
    array: NDArray[Any], start: Sequence[int] | NDArray[Any], shape: Sequence[int] | NDArray[Any]
) -> NDArray[Any]:
    """Return ``array[start : start + shape]`` with zeros where it reaches beyond the array.

    >>> block(np.arange(1, 4), [start_index(3, 6)], [6])
    array([0, 0, 1, 2, 3, 0])
    """
    begin, size = np.asarray(start), np.asarray(shape)
    result = np.zeros(tuple(size), dtype=array.dtype)
    low, high = np.maximum(begin, 0), np.minimum(begin + size, array.shape)
    if np.all(high > low):
        to = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, begin, strict=True))
        result[to] = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return result


def start_index(have: int, want: int) -> int:
    """Return the source index of the first voxel of a centred block (negative where zeros are added); an odd rest lies before it.

    >>> start_index(171, 192), start_index(138, 100)
    (-11, 19)
    """
    difference = abs(have - want)
    start = (difference + 1) // 2
    return -start if have < want else start


def halved_affine(affine: Matrix) -> Matrix:
    """Return the affine of the halved grid: voxel k lies at source index 2k + 1/2."""
    half = affine.copy()
    half[:3, :3] *= 2
    half[:3, 3] += affine[:3, :3] @ [0.5, 0.5, 0.5]
    return half


def halve_mean(array: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the mean over cells of 2x2x2 voxels (even sizes)."""
    return np.asarray(_cell_sum(array.astype(np.float32, copy=False)) / 8, dtype=np.float32)


def halve_majority(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 1 where at least half of the eight voxels of a cell are set; ``label`` holds 0 and 1.

    Ties are set. Given to the background, as a strict majority would, they shrink small lesions: a sphere of 1.5 mm
    radius would keep 0.4 of its volume instead of 0.8 (``docs/results/label_halving.json``).
    """
    return (_cell_sum(label) >= 4).astype(np.uint8)


def _cell_sum(array: NDArray[Any]) -> NDArray[Any]:
    pairs: NDArray[Any] = array[0::2] + array[1::2]
    squares: NDArray[Any] = pairs[:, 0::2] + pairs[:, 1::2]
    cells: NDArray[Any] = squares[..., 0::2] + squares[..., 1::2]
    return cells


def halve_nearest_upper(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return voxel 2k+1 of each axis: what nearest neighbour picks at 2k + 1/2, half a source voxel off the image."""
    return label[1::2, 1::2, 1::2]


def halve_bspline(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cubic B-spline interpolant at the cell centres, without anti-aliasing; it may over- and undershoot."""
    for axis in range(3):
        matrix = _bspline_matrix(array.shape[axis])
        array = np.moveaxis(np.tensordot(matrix, array, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(array)


@lru_cache(maxsize=8)
def _bspline_matrix(size: int) -> NDArray[np.float32]:
    """Return ``[size/2, size]``: spline coefficients of the samples (mirrored ends), evaluated at 2k + 1/2."""
    to_samples = _mirrored(size, range(size), (-1, 0, 1), (1 / 6, 4 / 6, 1 / 6))
    at_half = _mirrored(size, range(0, size, 2), (-1, 0, 1, 2), (1 / 48, 23 / 48, 23 / 48, 1 / 48))
    return np.ascontiguousarray(np.linalg.solve(to_samples.T, at_half.T).T, dtype=np.float32)


def _mirrored(size: int, centres: range, offsets: Sequence[int], weights: Sequence[float]) -> Matrix:
    matrix = np.zeros((len(centres), size))
    for row, centre in enumerate(centres):
        for offset, weight in zip(offsets, weights, strict=True):
            index = abs(centre + offset)
            matrix[row, min(index, 2 * (size - 1) - index)] += weight
    return matrix
