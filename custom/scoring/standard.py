# SPDX-License-Identifier: Apache-2.0
"""Residual in units of the healthy standard deviation (z-score), for a mean and a deviation map of healthy scans.

    score = |x - x̂| / max(σ, σ_min)

x̂ is the mean of healthy scans at each voxel, σ their standard deviation. σ_min, in intensities, keeps places where all
healthy scans agree (background) from infinite scores.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..core.errors import ConfigError
from .reconstructions import Reconstructions
from .residual import check_pair


@dataclass(frozen=True)
class StandardScore:
    """Score that needs σ beside the two volumes; :meth:`bind` takes it from the network. Dimensionless.

    Args:
        minimum_deviation: σ_min > 0.

    >>> import torch
    >>> from types import SimpleNamespace
    >>> atlas = SimpleNamespace(deviation=torch.tensor([[[0.1, 0.0]]]))
    >>> score = StandardScore(minimum_deviation=0.05).bind(atlas)
    >>> score(torch.full((1, 1, 2), 0.75), torch.full((1, 1, 2), 0.5))
    tensor([[[2.5000, 5.0000]]])
    """

    minimum_deviation: float

    def __post_init__(self) -> None:
        if not self.minimum_deviation > 0:
            raise ConfigError(f"minimum_deviation must be positive, got {self.minimum_deviation}; it bounds the score.")

    def bind(self, network: Any) -> Callable[[Tensor, Any], Tensor]:
        """Return ``score(image, reconstruction)`` for volumes ``[X, Y, Z]`` or ``[B, 1, X, Y, Z]``.

        Args:
            network: has ``deviation`` ``[X, Y, Z]``, σ of healthy scans.
        """
        deviation = network.deviation.clamp(min=self.minimum_deviation)

        def score(image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
            image, reconstruction = check_pair(image, reconstruction)
            z: Tensor = (image - reconstruction).abs() / deviation.to(image)
            return z

        return score
