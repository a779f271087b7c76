# SPDX-License-Identifier: Apache-2.0
"""Grids and smooth random fields of the synthetic cohort.

Two grids cover the same box of RAS millimetres: the fine grid (1 mm, 160 x 192 x 160) on which brains are made,
and the output grid on which they are written: 2 mm, 96 x 96 x 80, affine of the prepared real scans (centre of voxel 0
at -95, -109, -72 mm), or 1 mm, 192 x 192 x 160. Each cell of 2 mm holds exactly eight fine cells. The fine grid leaves
out 16 mm of air on the left and right.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

FINE_SHAPE = (160, 192, 160)
FINE_ORIGIN_MM = (-79.5, -109.5, -72.5)
BOX_CORNER_MM = (-96, -110, -73)
AIR_MM = 16  # left and right of the fine grid


def output_affine(spacing_mm: int) -> NDArray[np.float64]:
    """Return the affine of the output grid of ``spacing_mm``, voxel centres to RAS mm.

    >>> output_affine(2)[:3, 3].tolist()
    [-95.0, -109.0, -72.0]
    """
    affine = np.diag([spacing_mm] * 3 + [1]).astype(np.float64)
    affine[:3, 3] = np.array(BOX_CORNER_MM) + spacing_mm / 2
    return affine


def add_air(cells: NDArray[Any]) -> NDArray[Any]:
    """Pad an image of the fine grid's box with the air left and right: the output grid."""
    air = AIR_MM * cells.shape[0] // FINE_SHAPE[0]
    return np.pad(cells, ((air, air), (0, 0), (0, 0)))


@lru_cache(maxsize=64)
def _cubic_basis(length: int, spacing: float) -> Array:
    """Cubic B-spline basis ``[length, knots]`` with knots every ``spacing`` voxels."""
    knots = int(np.ceil(length / spacing)) + 3
    distance = np.abs(np.arange(length)[:, None] / spacing - (np.arange(knots)[None, :] - 1.0))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.asarray(np.where(distance < 1, near, far), dtype=np.float32)


@lru_cache(maxsize=16)
def _linear_basis(length: int, coarse: int) -> Array:
    """Linear interpolation ``[length, coarse]`` from cells to the finer cells that fill the same box."""
    position = np.clip((np.arange(length) + 0.5) * coarse / length - 0.5, 0, coarse - 1)
    return np.asarray(np.maximum(1 - np.abs(position[:, None] - np.arange(coarse)[None, :]), 0), dtype=np.float32)


def separable(values: Array, bases: Sequence[Array]) -> Array:
    """Apply one matrix per axis: ``[a, b, c] -> [A, B, C]``."""
    x, y, z = bases
    values = np.tensordot(x, values, axes=(1, 0))
    values = np.matmul(y, values)
    return np.asarray(np.matmul(values, z.T))


def upsample(coarse: Array, shape: tuple[int, int, int]) -> Array:
    """Linear interpolation to a finer grid of the same box; cells beyond the outermost centres are held."""
    return separable(coarse, [_linear_basis(n, m) for n, m in zip(shape, coarse.shape, strict=True)])


def noise_field(rng: np.random.Generator, shape: tuple[int, int, int], spacing: float) -> Array:
    """Smooth Gaussian field of unit variance: white noise on B-spline knots every ``spacing`` voxels."""
    bases = [_cubic_basis(n, spacing) for n in shape]
    knots = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    # the mean squared weight per axis makes the variance 1 averaged over positions
    scale = np.prod([np.sqrt((basis**2).sum(axis=1).mean()) for basis in bases])
    return separable(np.asarray(knots / np.float32(scale)), bases)
