# SPDX-License-Identifier: Apache-2.0
"""Scores of restored images: how much several restorations change the scan, in which direction, and the mask.

With restorations r_k of the image x, one per assumed severity (or one per noise draw of another method):

=========  ======================  =======================================
direction  score                   finds
=========  ======================  =======================================
any        mean_k |r_k - x|        every lesion (``restoration_l1``)
dark       mean_k max(r_k - x, 0)  lesions darker than healthy tissue, T1
bright     mean_k max(x - r_k, 0)  lesions brighter than it, T2 and FLAIR
=========  ======================  =======================================

Knowing the direction keeps the rims of coil fields out. ``mask_probability`` is the network's own mask.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..core.errors import ConfigError
from .reconstructions import Reconstructions, as_reconstructions
from .residual import check_pair


@dataclass(frozen=True)
class RestorationResidual:
    """Mean change over the restorations, in units of intensity.

    Attributes:
        direction: "any", "dark" or "bright".

    >>> image, restored = torch.full((4, 4, 4), 0.5), torch.full((4, 4, 4), 0.25)
    >>> [float(RestorationResidual(direction)(image, restored).max()) for direction in ("any", "dark", "bright")]
    [0.25, 0.0, 0.25]
    """

    direction: Literal["any", "dark", "bright"] = "any"

    def __post_init__(self) -> None:
        if self.direction not in ("any", "dark", "bright"):
            raise ConfigError(
                f'the direction of a restoration score is "any", "dark" or "bright", got {self.direction!r}.'
            )

    @torch.no_grad()
    def __call__(self, image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
        """Return the map in the shape of ``image`` ``[X, Y, Z]``."""
        image, _ = check_pair(image, reconstruction)
        change = as_reconstructions(reconstruction).volumes.to(image) - image
        part = {"any": change.abs(), "dark": change.clamp(min=0), "bright": (-change).clamp(min=0)}[self.direction]
        return part.mean(dim=0)


@torch.no_grad()
def mask_probability(image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
    """Return the probability in [0, 1] with which the network marks a voxel as anomalous."""
    image, _ = check_pair(image, reconstruction)
    return as_reconstructions(reconstruction).required_mask.to(image)
