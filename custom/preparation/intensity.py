# SPDX-License-Identifier: Apache-2.0
"""Intensities from 0 to 1, by percentiles of the brain or by its main tissue.

Scans that are interpolated are measured on the model's grid: a scanner's voxels are often finer within a slice than those
of training scans, and the darkest and brightest of them (vessels, fluid, mask voxels at the dura) would stretch the range.
On a raw T2 scan (0.5 x 0.5 x 4 mm) percentiles of the scan's own voxels made the median of the brain 0.35; those of the
grid make it 0.29, as in prepared scans of the same scanner type (0.29, 0.31).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.errors import ConfigError, DataError
from ..volumes.resampling import Affine, Floats, resample
from .subject import Mask, Subject, TargetGrid

_BINS = 120


@dataclass(frozen=True)
class ScaleIntensity:
    """Clip to percentiles of the brain inside the field of view and scale them to 0 and 1.

    Attributes:
        percentiles: low and high, within 0 to 100.

    >>> image = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    >>> subject = ScaleIntensity((0, 100))(Subject("case1", image, np.eye(4), mask=np.ones((4, 4, 4), np.uint8)))
    >>> subject.intensity_range, float(subject.image.max())
    ((0.0, 63.0), 1.0)
    """

    percentiles: tuple[float, float] = (1.0, 99.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "percentiles", tuple(float(p) for p in self.percentiles))
        if len(self.percentiles) != 2 or not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ConfigError(f"preparation: percentiles must rise within 0..100, got {self.percentiles}")

    def __call__(self, subject: Subject) -> Subject:
        """Return the subject with an image in [0, 1]; one that will be interpolated may leave that range until then."""
        seen = subject.brain
        grid = subject.grid
        if grid is not None and grid.factor is None:
            if not subject.is_flat:
                image, inside = brain_on_grid(subject.image, subject.brain, subject.affine, grid)
                low, high = self.limits(image[inside > 0], subject.case)
                scaled = ((subject.image - np.float32(low)) / np.float32(high - low)).astype(np.float32)
                return subject.replaced(image=scaled, intensity_range=(low, high))
            seen = seen * _inside_grid(seen.shape, subject.affine, grid)
        low, high = self.limits(subject.image[seen > 0], subject.case)
        clipped = np.clip(subject.image, np.float32(low), np.float32(high))
        scaled = (clipped - np.float32(low)) / (np.float32(high) - np.float32(low))
        return subject.replaced(image=scaled, intensity_range=(low, high))

    def limits(self, values: Floats, case: str) -> tuple[float, float]:
        """Return what becomes 0 and what becomes 1, of the values inside the brain.

        Raises:
            DataError: there are none, or they are all alike.
        """
        if values.size == 0:
            raise DataError("the brain mask is empty after cropping to the working field of view", case=case)
        low, high = np.percentile(values, self.percentiles).astype(np.float32)
        if not high > low:
            raise DataError(f"no contrast inside the brain: percentiles {self.percentiles} are both {low:g}", case=case)
        return float(low), float(high)


@dataclass(frozen=True)
class ScaleToTissue(ScaleIntensity):
    """Scale so that the brain's main tissue gets one value in every scan, after Shinohara et al., NeuroImage: Clinical 6, 2014.

    Its intensity is the rightmost peak of the brain's histogram that is at least half as high as the highest: white matter
    in T1, white and grey matter together in T2 and FLAIR. A large lesion moves a percentile, but hardly this peak.

    Attributes:
        percentiles: the low one becomes 0; the histogram lies between the two.
        tissue: what the tissue becomes, within 0 to 1.

    >>> grey, white = np.random.default_rng(0).normal([[60], [100]], 5, (2, 4000))
    >>> low, high = ScaleToTissue(tissue=0.75).limits(np.concatenate([grey, white]), "case1")
    >>> bool(abs(low + 0.75 * (high - low) - 100) < 2)
    True
    """

    tissue: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.tissue <= 1:
            raise ConfigError(f"preparation: tissue must lie above 0 and at most at 1, got {self.tissue!r}")

    def limits(self, values: Floats, case: str) -> tuple[float, float]:
        """Return what becomes 0 and what becomes 1; see :meth:`ScaleIntensity.limits`."""
        low, high = super().limits(values, case)
        counts, edges = np.histogram(values, _BINS, (low, high))
        smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), _BINS / 30)
        inner = np.flatnonzero((smooth[1:-1] >= smooth[:-2]) & (smooth[1:-1] > smooth[2:])) + 1
        peaks = inner[smooth[inner] >= smooth.max() / 2]
        at = int(peaks[-1]) if len(peaks) else int(smooth.argmax())
        return low, low + float(edges[at] + edges[at + 1] - 2 * low) / 2 / self.tissue


def brain_on_grid(image: Floats, brain: Mask, affine: Affine, grid: TargetGrid) -> tuple[Floats, Mask]:
    """Return the brain alone on the grid, and its mask there: voxels at its edge are not mixed with what lies around it."""
    weight = resample(brain.astype(np.float32), affine, grid.affine, grid.shape)
    total = resample(np.where(brain > 0, image, 0).astype(np.float32), affine, grid.affine, grid.shape)
    inside = (weight > 0.5).astype(np.uint8)
    return np.asarray(total / np.maximum(weight, 0.5) * inside, dtype=np.float32), inside


def _inside_grid(shape: tuple[int, ...], affine: NDArray[np.float64], grid: TargetGrid) -> NDArray[np.bool_]:
    """Return which voxels of the scan have their centre inside the grid."""
    to_grid = np.linalg.inv(grid.affine) @ affine
    inside = np.ones(shape, dtype=bool)
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    for axis, size in enumerate(grid.shape):
        place = sum(np.float32(to_grid[axis, k]) * axes[k] for k in range(3)) + np.float32(to_grid[axis, 3])
        inside &= (place >= -0.5) & (place <= size - 0.5)
    return inside
