# SPDX-License-Identifier: Apache-2.0
"""Which cells of a slice an encoder sees in masked pre-training (SparK, Tian et al., ICLR 2023, section 3.1).

``round(cells (1 - mask_ratio))`` cells stay visible, chosen at random for every slice. cDDPM's released code chooses among
all cells: at 96 pixels 13 % of its 3 x 3 cells hold hardly any brain, and with 4 % of its masks less than a tenth of the
brain is visible (2,000 slices of IXI T1). By default the visible cells are therefore chosen among those that hold brain, and
only where there are too few of them among the others too.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..core.seeding import sent_to


@dataclass(frozen=True)
class CellMask:
    """Draw the visible cells of a batch of slices.

    Args:
        mask_ratio: share of cells that are masked, in [0, 1).
        cell_px: edge of a cell in pixels; the encoder's stride or a multiple of it.
        cells: ``"brain"``: visible cells hold brain where possible; ``"any"``: the published choice.
        least_brain: share of brain, in [0, 1], from which on a cell holds brain.

    >>> CellMask(mask_ratio=0.65).drawn(torch.ones(2, 1, 96, 96), torch.Generator().manual_seed(0)).sum((1, 2, 3))
    tensor([3, 3])
    """

    mask_ratio: float = 0.65
    cell_px: int = 32
    cells: Literal["brain", "any"] = "brain"
    least_brain: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.mask_ratio < 1 or self.cell_px < 1 or self.cells not in ("brain", "any"):
            raise ConfigError(
                "a cell mask needs mask_ratio in [0, 1), cell_px >= 1 and cells 'brain' or 'any', got "
                f"{self.mask_ratio}, {self.cell_px} and {self.cells!r}."
            )

    def drawn(self, brain: Tensor, generator: torch.Generator) -> Tensor:
        """Return the visible cells, bool ``[B, 1, rows, columns]``, for brain masks ``[B, 1, H, W]``.

        Args:
            brain: non-zero inside the brain; its device is the result's.
            generator: on the host.
        """
        height, width = brain.shape[-2:]
        if height % self.cell_px or width % self.cell_px:
            raise ConfigError(
                f"slices of {height} x {width} pixels cannot be divided into cells of {self.cell_px} pixels."
            )
        shape = (len(brain), 1, height // self.cell_px, width // self.cell_px)
        order = sent_to(torch.rand(shape, generator=generator), brain.device)
        if self.cells == "brain":
            share = torch.nn.functional.avg_pool2d((brain > 0).float(), self.cell_px)
            order = order + (share < self.least_brain)  # behind all cells that hold brain
        flat = order.flatten(1)
        kept = self.kept(flat.shape[1])
        active = torch.zeros_like(flat, dtype=torch.bool)
        active.scatter_(1, flat.argsort(dim=1)[:, :kept], True)
        return active.reshape(shape)

    def kept(self, cells: int) -> int:
        """Return how many of ``cells`` cells stay visible, at least one."""
        return max(1, round(cells * (1 - self.mask_ratio)))
