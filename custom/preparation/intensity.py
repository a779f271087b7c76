# SPDX-License-Identifier: Apache-2.0
"""Intensities from 0 to 1 by percentiles of the brain."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ConfigError, DataError
from ..volumes.resampling import Floats
from .subject import Mask, Subject, TargetGrid


@dataclass(frozen=True)
class ScaleIntensity:
    """Clip to percentiles of the brain inside the field of view and scale them to 0 and 1.

    Attributes:
        percentiles: low and high, within 0 to 100.
    """

    percentiles: tuple[float, float] = (1.0, 99.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "percentiles", tuple(float(p) for p in self.percentiles))
        if len(self.percentiles) != 2 or not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ConfigError(f"preparation: percentiles must rise within 0..100, got {self.percentiles}")

    def __call__(self, subject: Subject) -> Subject:
        """Return the subject with an image in [0, 1]."""
        seen = subject.brain
        if subject.grid is not None and subject.grid.factor is None:
            seen = seen * _inside_grid(seen.shape, subject.affine, subject.grid)
        scaled, limits = scaled_to_percentiles(subject.image, seen, self.percentiles, subject.case)
        return subject.replaced(image=scaled, intensity_range=limits)


def scaled_to_percentiles(
    image: Floats, brain: Mask, percentiles: tuple[float, float], case: str
) -> tuple[Floats, tuple[float, float]]:
    """Return the image clipped to percentiles of the voxels inside the brain and scaled, and the two intensities."""
    values = image[brain > 0]
    if values.size == 0:
        raise DataError("the brain mask is empty after cropping to the working field of view", case=case)
    low, high = np.percentile(values, percentiles).astype(np.float32)
    if not high > low:
        raise DataError(f"no contrast inside the brain: percentiles {percentiles} are both {low:g}", case=case)
    scaled: Floats = (np.clip(image, low, high) - low) / (high - low)
    return scaled, (float(low), float(high))


def _inside_grid(shape: tuple[int, ...], affine: NDArray[np.float64], grid: TargetGrid) -> NDArray[np.bool_]:
    """Return which voxels of the scan have their centre inside the grid."""
    to_grid = np.linalg.inv(grid.affine) @ affine
    inside = np.ones(shape, dtype=bool)
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    for axis, size in enumerate(grid.shape):
        place = sum(np.float32(to_grid[axis, k]) * axes[k] for k in range(3)) + np.float32(to_grid[axis, 3])
        inside &= (place >= -0.5) & (place <= size - 0.5)
    return inside
