# SPDX-License-Identifier: Apache-2.0
"""A score in multiples of what it is in the rest of the same scan, so that a scanner which raises all residuals moves no threshold.

    score = m / q(m),    q the quantile ``level`` of the map m over the voxels of the brain (image > 0)

Within a scan the ranks stay; between scans the level is taken out. A lesion that fills more than 1 - ``level`` of the brain
would raise q itself.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.errors import ConfigError
from .reconstructions import Reconstructions

_SMALLEST = 1e-12


@dataclass(frozen=True)
class ScanRelative:
    """Score relative to its own quantile in the scan; dimensionless.

    Attributes:
        score: the score whose map is taken, ``score(image, reconstruction) -> anomaly_map``.
        level: quantile in (0, 1); 0.5 is the median.

    >>> from custom.scoring import l1
    >>> image = torch.linspace(0.1, 1.0, 8).reshape(2, 2, 2)
    >>> maps = [ScanRelative(l1)(image * gain, torch.zeros(2, 2, 2)) for gain in (1, 2)]
    >>> torch.allclose(*maps)
    True
    """

    score: Any
    level: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ConfigError(f"the level of a score relative to its scan is a quantile in (0, 1), got {self.level}.")

    def bind(self, network: Any) -> "ScanRelative":
        """Return this score with what the taken score needs of the network."""
        return ScanRelative(self.score.bind(network), self.level) if hasattr(self.score, "bind") else self

    def at_height(self, height: int) -> Any:
        """Refuse to score a single slice.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"a score relative to its scan cannot score a single slice (height {height}): a lesion may fill much of it. Take a model "
            "with another score, or one whose calibration names a score for pictures."
        )

    @torch.no_grad()
    def __call__(self, image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
        """Return the map in the shape of ``image`` ``[X, Y, Z]`` or ``[B, 1, X, Y, Z]``; every item has its own quantile."""
        found: Tensor = self.score(image, reconstruction)
        items, images = (part.reshape(-1, *image.shape[-3:]) for part in (found, image))
        scaled = [item / self._unit(item[own > 0]) for item, own in zip(items, images, strict=True)]
        return torch.stack(scaled).reshape(image.shape)

    def _unit(self, inside: Tensor) -> Tensor:
        if not len(inside):
            return inside.new_tensor(1.0)
        rank = max(1, min(len(inside), round(self.level * len(inside))))  # torch.quantile ends at 16 million values
        return inside.flatten().kthvalue(rank).values.clamp(min=_SMALLEST)
