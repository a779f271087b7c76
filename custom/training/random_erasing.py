# SPDX-License-Identifier: Apache-2.0
"""Erase a rectangle of a slice: the stand-in for a lesion of Patrício et al. (arXiv 2406.00772), by their released code.

One normal number f gives size and place. With deviation 0.3, H and W the edges of the slice::

    height = int(H (0.1 + 0.3 (f + 2) / 4))              width = int(W (0.2 + 0.6 (f + 2) / 4))
    top = ((H - height) // 2 + int(f H / 2)) mod H       left = ((W - width) // 2 + int(f W / 2)) mod W

A rectangle that runs over the edge is cut off there. Published rectangles move along the diagonal and grow with f; with
``tied=False`` two more numbers place them independently.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import ConfigError


@dataclass(frozen=True)
class RandomErasing:
    """Callable ``(images [B, 1, H, W], mask, generator) -> images`` with a rectangle of zeros in some of them.

    Args:
        probability: share of the slices that are erased, in [0, 1].
        deviation: of f.
        tied: one number for size and place (published), or three.

    >>> erased = RandomErasing(probability=1.0)(torch.ones(1, 1, 96, 96), None, torch.Generator().manual_seed(0))
    >>> 0 < erased.mean() < 1
    tensor(True)
    """

    probability: float = 0.7
    deviation: float = 0.3
    tied: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or self.deviation < 0:
            raise ConfigError(
                f"RandomErasing takes probability in [0, 1] and deviation >= 0, got {self.probability}, {self.deviation}."
            )

    def __call__(self, images: Tensor, mask: Tensor | None, generator: torch.Generator) -> Tensor:
        """Return ``images`` with erased rectangles; ``mask`` is not needed."""
        chosen = torch.rand(len(images), generator=generator) < self.probability
        factors = self.deviation * torch.randn(len(images), 3, generator=generator)
        result = images.clone()
        for index in chosen.nonzero().flatten().tolist():
            size, down, right = factors[index].tolist()
            if self.tied:
                down = right = size
            rows, columns = images.shape[-2:]
            top, left, height, width = rectangle(rows, columns, size, down, right)
            result[index, :, top : top + height, left : left + width] = 0
        return result


def rectangle(rows: int, columns: int, size: float, down: float, right: float) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the rectangle in a slice of ``rows`` x ``columns`` pixels.

    >>> rectangle(96, 96, 0.3, 0.3, 0.3)
    (49, 36, 26, 52)
    """
    height = max(0, int(rows * (0.1 + 0.3 * (size + 2) / 4)))
    width = max(0, int(columns * (0.2 + 0.6 * (size + 2) / 4)))
    top = ((rows - height) // 2 + int(down * rows / 2)) % rows
    left = ((columns - width) // 2 + int(right * columns / 2)) % columns
    return top, left, height, width
