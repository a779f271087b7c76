# SPDX-License-Identifier: Apache-2.0
"""Coarse noise of the denoising autoencoder (Kascenas, Pugeault, O'Neil, MIDL 2022).

Gaussian noise of standard deviation ``sigma`` on a small grid (published: 0.2 on 16 x 16), enlarged bilinearly to the
image and rolled circularly by a random shift so that grid nodes fall anywhere. Intensities as the image's, [0, 1].
The multiplication by the brain mask is the caller's.

At 96 px the factor is 6 instead of the published 8 (128 px).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import ConfigError
from ..core.seeding import sent_to


@dataclass(frozen=True)
class CoarseNoise:
    """Callable ``noise(like, generator)``: coarse Gaussian noise, float32, shape and device of ``like``.

    Args:
        sigma: standard deviation at the nodes; between them bilinear interpolation makes it smaller.
        coarse_size: rows and columns of the small grid.
        align_corners: as in ``torch.nn.functional.interpolate``; True in Kascenas' code.
        roll_per_sample: an own shift per sample; False: one for the batch, as published.

    >>> CoarseNoise(sigma=0.2, coarse_size=16, align_corners=True, roll_per_sample=True)(torch.zeros(2, 1, 96, 96)).shape
    torch.Size([2, 1, 96, 96])
    """

    sigma: float
    coarse_size: int
    align_corners: bool
    roll_per_sample: bool

    def __post_init__(self) -> None:
        if not (self.sigma >= 0 and self.coarse_size >= 1):
            raise ConfigError(
                f"Coarse noise needs sigma >= 0 and coarse_size >= 1, got {self.sigma} and {self.coarse_size}."
            )

    @torch.no_grad()
    def __call__(self, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return noise of the shape of ``like`` ``[B, C, H, W]``."""
        source = like.device if generator is None else generator.device
        batch, channels, height, width = like.shape
        shape = (batch, channels, self.coarse_size, self.coarse_size)
        coarse = sent_to(torch.randn(shape, generator=generator, device=source), like.device) * self.sigma
        shifts = torch.rand(batch if self.roll_per_sample else 1, 2, generator=generator, device=source)
        shifts = sent_to(shifts, like.device).expand(batch, 2)
        fine = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=self.align_corners)
        # A roll written as indexing keeps the shifts on the device.
        rows = (torch.arange(height, device=like.device) - (shifts[:, :1] * height).long()) % height
        columns = (torch.arange(width, device=like.device) - (shifts[:, 1:] * width).long()) % width
        fine = fine.gather(2, rows[:, None, :, None].expand_as(fine))
        return fine.gather(3, columns[:, None, None, :].expand_as(fine))
