# SPDX-License-Identifier: Apache-2.0
"""A coarse picture of a scan that survives saving it again, and the search for scans that share it.

The box of the voxels that are not 0 is divided into 16x16x16 blocks; the block means, without mean and with unit
deviation, are kept as 8-bit numbers. Rescaled, rounded, cropped, recompressed or slightly noisy copies keep a
correlation near 1; scans of different persons do not, see ``docs/robustness.md`` for the measured gap.
"""

import base64
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

GRID = 16
SAME_SCAN = 0.97
_EMPTY = -128
_LIMIT_SD = 4.0
_ROWS = 256
_MIN_BLOCKS = 64


def fingerprint(voxels: NDArray[np.float32], occupied: NDArray[np.bool_], box: Sequence[tuple[int, int]]) -> str:
    """Return the coarse picture of ``[X, Y, Z]`` as base64 text of ``16**3`` signed bytes; -128 marks empty blocks."""
    inside = tuple(slice(low, high + 1) for low, high in box)
    total, count = _block_sums(voxels[inside], np.float32), _block_sums(occupied[inside], np.int32)
    x, y, z = (np.maximum(np.diff([*_edges(1 + high - low), 1 + high - low]), 1) for low, high in box)
    full = count > 0.5 * x[:, None, None] * y[:, None] * z
    means = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    chosen = means[full]
    spread = float(chosen.std()) if chosen.size else 0.0
    codes = np.full(means.shape, _EMPTY, np.int8)
    if spread > 0:
        scaled = np.clip((chosen - chosen.mean()) / spread / _LIMIT_SD, -1, 1) * 127
        codes[full] = np.rint(scaled).astype(np.int8)
    return base64.b64encode(codes.tobytes()).decode()


def similar_pairs(prints: Sequence[str]) -> Iterator[tuple[int, int, float]]:
    """Yield index pairs whose pictures correlate by :data:`SAME_SCAN` or more over the blocks that both have."""
    codes = np.stack([_decoded(text) for text in prints]) if prints else np.zeros((0, GRID**3), np.int8)
    there = (codes != _EMPTY).astype(np.float32)
    values = np.where(there > 0, codes / np.float32(127), 0).astype(np.float32)
    squares = values**2
    for start in range(0, len(codes), _ROWS):
        rows = slice(start, start + _ROWS)
        n = there[rows] @ there.T
        n[n == 0] = 1
        first, second = values[rows] @ there.T / n, there[rows] @ values.T / n
        power = (squares[rows] @ there.T / n - first**2) * (there[rows] @ squares.T / n - second**2)
        shared = values[rows] @ values.T / n - first * second
        correlation = np.where(power > 0, shared / np.sqrt(np.maximum(power, 1e-12)), 0)
        correlation[n < _MIN_BLOCKS] = 0
        for i, j in np.argwhere(correlation >= SAME_SCAN):
            if start + i < j:
                yield int(start + i), int(j), float(correlation[i, j])


def _edges(size: int) -> list[int]:
    """Return the first index of each block; along an axis shorter than 16 neighbouring blocks share a voxel."""
    return [block * size // GRID for block in range(GRID)]


def _block_sums(array: NDArray[np.generic], first: DTypeLike) -> NDArray[np.float64]:
    """Return sums over ``16**3`` blocks; along the last axis they are taken in the type ``first``, which is faster."""
    sums = np.add.reduceat(array, _edges(array.shape[2]), axis=2, dtype=first)
    for axis in (1, 0):
        sums = np.add.reduceat(sums, _edges(array.shape[axis]), axis=axis, dtype=np.float64)
    return np.asarray(sums, dtype=np.float64)


def _decoded(text: str) -> NDArray[np.int8]:
    codes = np.frombuffer(base64.b64decode(text), np.int8)
    return codes if codes.size == GRID**3 else np.full(GRID**3, _EMPTY, np.int8)
