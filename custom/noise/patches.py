# SPDX-License-Identifier: Apache-2.0
"""Boxes that patched diffusion (pDDPM) puts its noise into: a regular grid over the slice.

Behrendt et al., "Patched diffusion models for unsupervised anomaly detection in brain MRI", MIDL 2023, section 2.2:
boxes of 48 x 48 pixels on slices of 96 x 96, four without overlap. In training every sample is noised in one box of
the grid, drawn uniformly; at test every box is noised and predicted once, and the predictions are put together.

The boxes are spread evenly from edge to edge, with the stride or the next smaller one that reaches both edges. Where
boxes overlap, the inferer averages; the released code also has ``cut``, which is not here.
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..core.seeding import sent_to

Box = tuple[slice, slice]


@dataclass(frozen=True)
class GridPatches:
    """Grid of square boxes; called in training it draws one box per sample.

    Args:
        patch_px: edge of a box; slices that are smaller are one box.
        stride_px: largest distance between neighbouring boxes, at most ``patch_px``; None: ``patch_px``, that is, no
            overlap where the boxes fit the slice exactly.

    >>> patches = GridPatches(patch_px=48)
    >>> [(rows.start, columns.start) for rows, columns in patches.boxes(96, 96)]
    [(0, 0), (0, 48), (48, 0), (48, 48)]
    >>> mask = patches(torch.zeros(3, 1, 96, 96), torch.Generator().manual_seed(0))
    >>> mask.sum(dim=(1, 2, 3))  # one box of each sample
    tensor([2304, 2304, 2304])
    """

    patch_px: int
    stride_px: int | None = None

    def __post_init__(self) -> None:
        if self.patch_px < 1 or not 1 <= (self.stride_px or self.patch_px) <= self.patch_px:
            raise ConfigError(
                f"patch_px {self.patch_px} must be at least 1 and stride_px {self.stride_px} between 1 and patch_px: "
                "otherwise pixels between the boxes would never be noised. The papers use 48 without overlap."
            )

    def boxes(self, height: int, width: int) -> list[Box]:
        """Return (rows, columns) of every box on ``height`` x ``width`` pixels, row by row; every pixel is in one or more."""
        return list(product(self._intervals(height), self._intervals(width)))

    def __call__(self, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return a bool mask of the shape of ``like`` ``[B, C, H, W]``, true in one random box per sample."""
        boxes = self.boxes(*like.shape[-2:])
        source = like.device if generator is None else generator.device
        drawn = torch.randint(len(boxes), (len(like),), generator=generator, device=source)
        masks = torch.zeros(len(boxes), 1, *like.shape[-2:], dtype=torch.bool, device=like.device)
        for mask, (rows, columns) in zip(masks, boxes, strict=True):
            mask[..., rows, columns] = True
        return masks[sent_to(drawn, like.device)].expand_as(like)

    def _intervals(self, size: int) -> list[slice]:
        patch = min(self.patch_px, size)
        stride = self.stride_px or self.patch_px
        steps = -(-(size - patch) // stride)
        starts = [round(step * (size - patch) / max(steps, 1)) for step in range(steps + 1)]
        return [slice(start, start + patch) for start in starts]
