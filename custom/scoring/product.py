# SPDX-License-Identifier: Apache-2.0
"""Voxel-wise product of several scores, e.g. SSIM-ens x l1: high only where structure *and* intensity disagree.

Not part of the ISBI 2024 paper; an option that shows how scores compose. The units multiply, nothing is normalised.
Checked against the factors multiplied by hand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..core.errors import ConfigError
from .reconstructions import Reconstructions


@dataclass(frozen=True)
class Product:
    """Scoring callable: the product of the maps of ``scores``, each ``score(image, reconstruction) -> anomaly_map``.

    >>> import torch
    >>> from custom.scoring import l1, l2
    >>> round(float(Product((l1, l2))(torch.ones(4, 4, 4), 0.5 * torch.ones(4, 4, 4)).max()), 6)
    0.125
    """

    scores: Sequence[Callable[[Tensor, Any], Tensor]]

    def __post_init__(self) -> None:
        if not self.scores:
            raise ConfigError("A product of scores needs at least one score; list them under `scores`.")
        object.__setattr__(self, "scores", tuple(self.scores))

    def __call__(self, image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
        """Anomaly map in the shape of ``image``."""
        first, *others = self.scores
        anomaly_map = first(image, reconstruction)
        for score in others:
            anomaly_map = anomaly_map * score(image, reconstruction)
        return anomaly_map
