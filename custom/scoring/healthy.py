# SPDX-License-Identifier: Apache-2.0
"""A score beside what it gives in healthy brains: as a multiple of its healthy mean, or as z, place by place.

With the map m of another score, its healthy mean μ and deviation σ at the voxel (:mod:`.healthy_statistics`), and μ̄, σ̄ over
all healthy voxels::

    ratio:  m / (μ + c μ̄)            z:  max(m - μ, 0) / (σ + c σ̄)

Residuals are large wherever healthy people differ (sulci, ventricles); both forms take that out. c keeps places where all healthy
maps are nearly 0 from dominating. Works for every method: residual maps normalised by those of healthy scans have been used
with reconstruction methods since AnoGAN's successors; smoothing and c are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.errors import ConfigError, DataError
from .healthy_statistics import HealthyStatistics
from .reconstructions import Reconstructions


@dataclass(frozen=True)
class HealthyRelative:
    """Score relative to healthy statistics; dimensionless. An evaluation fits the statistics on its calibration scans.

    Attributes:
        score: the score whose map is compared, ``score(image, reconstruction) -> anomaly_map``.
        form: "ratio" or "z".
        smoothing_px: standard deviation of the blur of the statistics, in voxels.
        floor: c > 0.
        statistics: of the healthy scans, None before they were fitted.

    >>> from custom.scoring import HealthySums, l1
    >>> sums = HealthySums(smoothing_px=4.0)
    >>> for level in (0.1, 0.3):  # of the residuals of two healthy scans
    ...     sums.add(torch.full((8, 8, 8), level).numpy(), torch.ones(8, 8, 8).numpy())
    >>> score = HealthyRelative(l1).fitted(sums.statistics())
    >>> round(float(score(torch.full((8, 8, 8), 0.9), torch.full((8, 8, 8), 0.1)).mean()), 2)
    2.0
    """

    score: Any
    form: Literal["ratio", "z"] = "ratio"
    smoothing_px: float = 4.0
    floor: float = 1.0
    statistics: HealthyStatistics | None = None

    def __post_init__(self) -> None:
        if self.form not in ("ratio", "z"):
            raise ConfigError(f'the form of a score relative to healthy scans is "ratio" or "z", got {self.form!r}.')
        if not (self.floor > 0 and self.smoothing_px > 0):
            raise ConfigError(
                f"floor and smoothing_px must be positive, got {self.floor} and {self.smoothing_px}; they bound the score."
            )

    def bind(self, network: Any) -> "HealthyRelative":
        """Return this score with what the compared score needs of the network."""
        return replace(self, score=self.score.bind(network)) if hasattr(self.score, "bind") else self

    def fitted(self, statistics: HealthyStatistics) -> "HealthyRelative":
        """Return this score with statistics."""
        return replace(self, statistics=statistics)

    def at_height(self, height: int) -> Callable[[Tensor, Any], Tensor]:
        """Return the score of a single slice ``[X, Y, 1]`` that lies at this height of the grid."""
        score = self.score.at_height(height) if hasattr(self.score, "at_height") else self.score
        return lambda image, reconstruction: self.relative(score(image, reconstruction), height)

    def relative(self, anomaly_map: Tensor, height: int | None = None) -> Tensor:
        """Return a map ``[X, Y, Z]`` of the compared score relative to the healthy ones.

        Args:
            anomaly_map: of the whole grid, or ``[X, Y, 1]`` of one slice.
            height: index of that slice along Z; None: the whole grid.

        Raises:
            ConfigError: the statistics have not been fitted.
            DataError: they are of another grid.
        """
        known = self.statistics
        if known is None:
            raise ConfigError(
                "this score compares with healthy scans, and no statistics of them are known; an evaluation with two or more "
                "healthy calibration scans fits them."
            )
        x, y, z = known.shape
        if tuple(anomaly_map.shape[-3:]) != (x, y, z if height is None else 1):
            raise DataError(
                f"the map has {list(anomaly_map.shape)} voxels, the healthy statistics {list(known.shape)}; evaluate the model "
                "on this grid."
            )
        here = slice(None) if height is None else slice(height, height + 1)
        mean = known.mean_map[..., here].to(anomaly_map)
        if self.form == "ratio":
            return anomaly_map / (mean + self.floor * known.overall_mean)
        deviation = known.deviation_map[..., here].to(anomaly_map)
        return (anomaly_map - mean).clamp(min=0) / (deviation + self.floor * known.overall_deviation)

    @torch.no_grad()
    def __call__(self, image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
        """Return the map in the shape of ``image``."""
        return self.relative(self.score(image, reconstruction))
