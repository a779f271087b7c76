# SPDX-License-Identifier: Apache-2.0
"""What a score gives in healthy brains: its mean and standard deviation at every place, smoothed, small enough for ``model.json``.

With the maps m_i of healthy scans and their brain masks b_i, all on one grid, G a Gaussian blur and sums over the scans::

    mean = G(Σ b m) / G(Σ b),    deviation² = G(Σ b m²) / G(Σ b) - mean²

so both are moments over the healthy voxels in a neighbourhood, in which each counts by its distance; few scans suffice
because neighbours help. Sums are kept in cells of 2 x 2 x 2 voxels (float64), and a scan can be left out by subtraction. Where
no brain is near, the moments over all healthy voxels stand.

The statistics are JSON values: float16 multiples of the overall moments, rounded to 0.4 %, deflated, in base64. They lie in the description of
the score in ``model.json``, so its digest covers them, and whatever carries a model carries them.
"""

import base64
import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from ..core.errors import ConfigError, DataError

CELL_PX = 2
_NEAR = 1e-3  # share of brain in a neighbourhood from which on its own moments stand
_SMALLEST = 1e-12
_LARGEST_RATIO = 6e4  # float16 ends at 65504, and rounding goes up


@dataclass(frozen=True)
class HealthyStatistics:
    """Mean and deviation of one score in healthy brains.

    Attributes:
        shape: voxels of the working grid ``[X, Y, Z]``.
        scans: number of healthy scans.
        overall_mean: over all healthy voxels, in the score's units, > 0.
        overall_deviation: likewise, > 0.
        mean: per cell, in multiples of ``overall_mean``, see the module's docstring.
        deviation: per cell, in multiples of ``overall_deviation``.

    >>> sums = HealthySums(smoothing_px=4.0)
    >>> for level in (0.1, 0.3):
    ...     sums.add(np.full((8, 8, 8), level), np.ones((8, 8, 8)))
    >>> statistics = sums.statistics()
    >>> statistics.scans, round(statistics.overall_mean, 3), round(statistics.overall_deviation, 3)
    (2, 0.2, 0.1)
    >>> statistics.mean_map.shape
    torch.Size([8, 8, 8])
    """

    shape: Sequence[int]
    scans: int
    overall_mean: float
    overall_deviation: float
    mean: str
    deviation: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if len(self.shape) != 3 or not all(0 < n <= 1024 for n in self.shape):
            raise ConfigError(f"healthy statistics are of a grid [X, Y, Z], got the shape {self.shape}.")
        if not (self.overall_mean > 0 and self.overall_deviation > 0):
            raise ConfigError("healthy statistics need a positive mean and deviation; evaluate the model again.")

    @cached_property
    def mean_map(self) -> Tensor:
        """The mean at every voxel, float32 ``[X, Y, Z]``."""
        return self._map(self.mean, self.overall_mean)

    @cached_property
    def deviation_map(self) -> Tensor:
        """The standard deviation at every voxel, float32 ``[X, Y, Z]``."""
        return self._map(self.deviation, self.overall_deviation)

    def _map(self, text: str, unit: float) -> Tensor:
        cells = _cells(self.shape)
        wanted = 2 * int(np.prod(cells))
        unpacked = zlib.decompressobj()
        try:
            data = unpacked.decompress(base64.b64decode(text, validate=True), wanted + 1)
        except (ValueError, binascii.Error, zlib.error):
            data = b""
        if len(data) != wanted or not unpacked.eof:
            raise ConfigError(
                "the healthy statistics of the score are damaged; copy the model again, or evaluate it again."
            )
        values = torch.from_numpy(np.frombuffer(data, dtype="<f2").astype(np.float32).reshape(cells))
        full = functional.interpolate(values[None, None], scale_factor=CELL_PX, mode="trilinear", align_corners=False)
        x, y, z = self.shape
        return full[0, 0, :x, :y, :z].contiguous() * unit


class HealthySums:
    """Sums over healthy scans, from which the statistics of all of them, or of all but one, follow.

    Args:
        smoothing_px: standard deviation of the blur, in voxels of the working grid.

    >>> sums, brain = HealthySums(smoothing_px=4.0), np.ones((8, 8, 8))
    >>> maps = [np.full((8, 8, 8), level) for level in (0.1, 0.3)]
    >>> for anomaly_map in maps:
    ...     sums.add(anomaly_map, brain)
    >>> round(sums.statistics(without=(maps[0], brain)).overall_mean, 3)
    0.3
    """

    def __init__(self, smoothing_px: float) -> None:
        if not smoothing_px > 0:
            raise ConfigError(f"the smoothing of healthy statistics must be positive (voxels), got {smoothing_px}.")
        self.smoothing_px = smoothing_px
        self.scans = 0
        self._sums: NDArray[np.float64] | None = None
        self._shape: tuple[int, ...] = ()

    def add(self, anomaly_map: NDArray[np.floating], brain: NDArray[np.generic]) -> None:
        """Add one scan: its map ``[X, Y, Z]``, before post-processing, and its brain mask."""
        sums = _moments(anomaly_map, brain)
        self._shape = anomaly_map.shape
        self._sums = sums if self._sums is None else self._sums + sums
        self.scans += 1

    def statistics(self, without: tuple[NDArray[np.floating], NDArray[np.generic]] | None = None) -> HealthyStatistics:
        """Return the statistics of all scans, or of all but the one with this map and brain mask.

        Raises:
            DataError: no scan is left.
        """
        scans = self.scans - (without is not None)
        if self._sums is None or scans < 1:
            raise DataError(
                "statistics over healthy scans need at least one scan beside the one that is scored; give more healthy "
                "scans, or take a score that needs no statistics."
            )
        sums = self._sums if without is None else self._sums - _moments(*without)
        mean, deviation = _mean_and_deviation(*(float(part.sum()) for part in sums))
        count, first, second = (
            ndimage.gaussian_filter(part, self.smoothing_px / CELL_PX, mode="constant", truncate=3.0) for part in sums
        )
        near = count > _NEAR * scans * CELL_PX**3
        count = np.where(near, count, 1.0)
        means = np.where(near, first / count, mean)
        variances = np.where(near, second / count, mean**2 + deviation**2) - means**2
        return HealthyStatistics(
            self._shape,
            scans,
            mean,
            deviation,
            _packed(means / mean),
            _packed(np.sqrt(np.maximum(variances, 0)) / deviation),
        )


def _cells(shape: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (-(-n // CELL_PX) for n in shape)
    return x, y, z


def _moments(anomaly_map: NDArray[np.floating], brain: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return ``[3, X / 2, Y / 2, Z / 2]``: voxels of brain, sum and sum of squares of the map, per cell."""
    inside = np.asarray(brain) > 0
    values = np.where(inside, np.asarray(anomaly_map, dtype=np.float64), 0)
    cells = _cells(values.shape)
    padding = [(0, CELL_PX * many - n) for many, n in zip(cells, values.shape, strict=True)]
    parts = []
    for part in (inside.astype(np.float64), values, values**2):
        x, y, z = cells
        parts.append(np.pad(part, padding).reshape(x, CELL_PX, y, CELL_PX, z, CELL_PX).sum(axis=(1, 3, 5)))
    return np.stack(parts)


def _mean_and_deviation(count: float, first: float, second: float) -> tuple[float, float]:
    if count < 1:
        raise DataError("statistics over healthy scans need brain masks with at least one voxel.")
    mean = first / count
    return max(mean, _SMALLEST), max(second / count - mean**2, _SMALLEST**2) ** 0.5


def _packed(values: NDArray[np.float64]) -> str:
    halves = np.minimum(values, _LARGEST_RATIO).astype("<f2")
    halves = ((halves.view("<u2") + 4) & np.uint16(0xFFF8)).view("<f2")  # 7 bits of mantissa (0.4 %) deflate well
    return base64.b64encode(zlib.compress(halves.tobytes(), 9)).decode("ascii")
