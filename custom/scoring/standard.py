# SPDX-License-Identifier: Apache-2.0
"""Residual in units of the healthy standard deviation (z-score), for a mean and a deviation map of healthy scans.

    score = |x - x̂| / max(σ, σ_min)

x̂ is the mean of healthy scans at each voxel, σ their standard deviation. σ_min, in intensities, keeps places where all
healthy scans agree (background) from infinite scores.
"""

from torch import Tensor

from ..core.errors import ConfigError
from .residual import check_pair


class StandardScore:
    """Callable ``score(image, reconstruction) -> anomaly_map``; dimensionless.

    Args:
        deviation: ``[X, Y, Z]``, σ of healthy scans.
        minimum_deviation: σ_min > 0.
    """

    def __init__(self, deviation: Tensor, minimum_deviation: float) -> None:
        if minimum_deviation <= 0:
            raise ConfigError(f"minimum_deviation must be positive, got {minimum_deviation}; it bounds the score.")
        self.deviation = deviation.clamp(min=minimum_deviation)

    def __call__(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """Return the map in the shape of ``image`` ``[X, Y, Z]`` or ``[B, 1, X, Y, Z]``."""
        image, reconstruction = check_pair(image, reconstruction)
        return (image - reconstruction).abs() / self.deviation.to(image)
