# SPDX-License-Identifier: Apache-2.0
"""What fills a corrupted shape: a piece of another brain, a random intensity, or an additive change of brightness.

=========  ========================================================================================================
kind       target intensities t inside the shape
=========  ========================================================================================================
foreign    slab of another subject near the same height, shifted, mirrored half the time, gain · slab + offset; outside
           its brain it is filled with its mean (black pieces would be a shortcut)
random     one level in [0, 1], with a smooth texture and grain
additive   the slab itself, brighter or darker by an amount that varies smoothly
=========  ========================================================================================================
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .draws import Range, choice, lists_as_tuples, normal, smooth_field, uniform

TEXTURE_SPACING_PX = 6.0
BIAS_SPACING_PX = 16.0


@dataclass(frozen=True)
class LesionTextures:
    """Intensities are those of slabs, [0, 1].

    Attributes:
        weights: how often the kinds foreign, random, additive are taken.
        shift_px: largest shift of the foreign slab along rows and columns.
        gain, offset: ranges for the foreign slab.
        texture_sd, grain_sd: ranges of the standard deviations within a random intensity.
        bias: range of the size of an additive change, of either sign.
        bias_variation: relative standard deviation of that change within the shape.

    >>> slabs, brain = torch.rand(2, 3, 16, 16), torch.ones(2, 1, 3, 16, 16, dtype=torch.bool)
    >>> only_additive = LesionTextures(weights=(0, 0, 1))
    >>> target, additive = only_additive(slabs, slabs[:, None], brain, torch.Generator().manual_seed(0))
    >>> additive.shape, bool((additive != 0).all())
    (torch.Size([2, 1, 3, 16, 16]), True)
    """

    weights: tuple[float, float, float] = (0.55, 0.30, 0.15)
    shift_px: tuple[int, int] = (20, 24)
    gain: Range = (0.7, 1.3)
    offset: Range = (-0.2, 0.2)
    texture_sd: Range = (0.0, 0.12)
    grain_sd: Range = (0.0, 0.05)
    bias: Range = (0.1, 0.5)
    bias_variation: float = 0.25

    def __post_init__(self) -> None:
        lists_as_tuples(self)

    @torch.no_grad()
    def __call__(
        self, slabs: Tensor, foreign: Tensor, foreign_brain: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return targets and additive changes ``[B, L, C, H, W]``; where the kind is "additive", the target means nothing.

        Args:
            slabs: ``[B, C, H, W]``; only the device matters.
            foreign: ``[B, L, C, H, W]``, slabs of other subjects, one per layer.
            foreign_brain: their brains, bool.
            generator: of all draws.
        """
        batch, layers, _, height, width = foreign.shape
        device, each = slabs.device, (batch, layers, 1, 1, 1)
        kind = choice(each, self.weights, generator, device)
        patches = self._foreign(foreign, foreign_brain, generator)

        def field(spacing_px: float) -> Tensor:
            return smooth_field(batch * layers, height, width, spacing_px, generator, device).view(
                batch, layers, 1, height, width
            )

        level = uniform(each, (0.0, 1.0), generator, device)
        texture = uniform(each, self.texture_sd, generator, device) * field(TEXTURE_SPACING_PX)
        grain = uniform(each, self.grain_sd, generator, device) * normal(tuple(foreign.shape), generator, device)
        random = level + texture + grain
        size = uniform(each, self.bias, generator, device)
        sign = choice(each, (0.5, 0.5), generator, device) * 2 - 1
        additive = sign * size * (1 + self.bias_variation * field(BIAS_SPACING_PX))
        target = torch.where(kind == 0, patches, random)
        return target, additive.expand_as(target) * (kind == 2)

    def _foreign(self, foreign: Tensor, brain: Tensor, generator: torch.Generator) -> Tensor:
        batch, layers, _, height, width = foreign.shape
        device, each = foreign.device, (batch, layers, 1, 1, 1)
        inside = brain.to(foreign.dtype)
        mean = (foreign * inside).sum((2, 3, 4), keepdim=True) / inside.sum((2, 3, 4), keepdim=True).clamp(min=1)
        filled = torch.where(brain, foreign, mean)
        rows = torch.arange(height, device=device).expand(batch, layers, height)
        mirrored = uniform((batch, layers, 1), (0.0, 1.0), generator, device) < 0.5
        rows = torch.where(mirrored, height - 1 - rows, rows)
        down, across = (
            uniform((batch, layers, 1), (-limit, limit + 1), generator, device).floor().long()
            for limit in self.shift_px
        )
        rows = (rows + down) % height
        columns = (torch.arange(width, device=device) + across) % width
        filled = filled.gather(3, rows[:, :, None, :, None].expand_as(filled))
        filled = filled.gather(4, columns[:, :, None, None, :].expand_as(filled))
        gain, offset = (uniform(each, limits, generator, device) for limits in (self.gain, self.offset))
        return filled * gain + offset
