# SPDX-License-Identifier: Apache-2.0
"""Batches for the pre-training of an encoder: which cells it sees, the second view, who is whose negative.

The draws of a step belong to the global batch, as everywhere (:mod:`.prepare_batch`). In the validation they belong to the
place of a slice in it, so every validation has the same masks.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..models.cell_mask import CellMask
from .prepare_batch import Batch, Prepared, ReconstructionPrepareBatch


class MaskedPrepareBatch(ReconstructionPrepareBatch):
    """SparK (Tian et al., ICLR 2023): slices, and ``active`` for the network, the cells that it may see.

    Args:
        cell_mask: draws the cells.
        **kwargs: see :class:`~custom.training.prepare_batch.ReconstructionPrepareBatch`.

    >>> batch = {"image": torch.rand(2, 1, 96, 96), "mask": torch.ones(2, 1, 96, 96), "epoch": [1, 1], "position": [0, 1]}
    >>> prepare = MaskedPrepareBatch(CellMask(mask_ratio=0.65), seed=1, batch_size=2, stage="val")
    >>> *_, arguments = prepare(batch)
    >>> arguments["active"].shape, arguments["active"].sum((1, 2, 3)).tolist()
    (torch.Size([2, 1, 3, 3]), [3, 3])
    """

    def __init__(self, cell_mask: CellMask, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cell_mask = cell_mask

    def prepare(self, images: Tensor, mask: Tensor, rows: Tensor, generator: torch.Generator) -> Prepared:
        """Return the slices as input and target, and ``active``, bool ``[B, 1, rows, columns]``."""
        return images, images, (), {"active": self._rows_of(self._active, images, mask, rows, generator)}

    def _active(self, images: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        return self.cell_mask.drawn(mask, generator)


class ContrastivePrepareBatch(MaskedPrepareBatch):
    """Two views (Patrício et al., arXiv 2406.00772): adds ``view``, the slices of the second one, and ``groups``.

    Args:
        second_view: ``augmentation(images, mask, generator) -> images``; None: the second view differs by its mask alone, as
            in the released code.
        same_subject: whether slices of one subject are each other's negatives, as in the released code; two neighbouring
            slices of a brain then have to be told apart.
        **kwargs: see :class:`MaskedPrepareBatch`.

    >>> batch = {"image": torch.rand(2, 1, 96, 96), "mask": torch.ones(2, 1, 96, 96), "epoch": [1, 1], "position": [0, 1]}
    >>> batch["case_id"] = ["IXI105", "IXI105"]
    >>> prepare = ContrastivePrepareBatch(cell_mask=CellMask(mask_ratio=0.65), seed=1, batch_size=2, stage="val")
    >>> *_, arguments = prepare(batch)
    >>> arguments["groups"].tolist()  # both slices are of one subject and no negatives of each other
    [0, 0]
    """

    def __init__(
        self, second_view: Callable[..., Tensor] | None = None, same_subject: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.second_view = second_view
        self.same_subject = same_subject

    def __call__(self, batchdata: Batch, *args: Any, **kwargs: Any) -> Prepared:
        """Return network input, target, positional and keyword arguments of the inferer.

        Raises:
            ConfigError: the batch is shared with other processes, whose slices would not be negatives.
        """
        names = list(batchdata["case_id"])
        if self.stage == "train" and len(names) != self.batch_size:
            raise ConfigError(
                "a contrastive training compares all slices of a batch with each other and runs in one process; leave "
                "multi_gpu.json out."
            )
        inputs, target, positional, arguments = super().__call__(batchdata, *args, **kwargs)
        if not self.same_subject:
            arguments["groups"] = torch.tensor([names.index(name) for name in names], device=inputs.device)
        return inputs, target, positional, arguments

    def prepare(self, images: Tensor, mask: Tensor, rows: Tensor, generator: torch.Generator) -> Prepared:
        """Return the clean slices as input and target, ``active``, and ``view`` ``[B, 1, H, W]``."""
        inputs, target, positional, arguments = super().prepare(images, mask, rows, generator)
        if self.second_view is not None:
            arguments["view"] = self._rows_of(self.second_view, images, mask, rows, generator)
        return inputs, target, positional, arguments
