# SPDX-License-Identifier: Apache-2.0
"""Training of restoration networks: corrupted slabs in, residual and mask as targets, and the loss over both.

Batches are those of :mod:`custom.cohorts.slabs`. The target is ``[B, 3, H, W]``: residual (clean minus corrupted middle
slice), mask of what was visibly changed, brain.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..corruption import LocalCorruption, ScannerVariation, changed
from .prepare_batch import Batch, Prepared, ReconstructionPrepareBatch, _plain

_SLABS = ("image", "mask", "foreign", "foreign_mask")


class RestorationPrepareBatch(ReconstructionPrepareBatch):
    """Corrupt the slabs of a batch.

    Args:
        corruption: makes the local corruption.
        variation: what scanners differ in, on input and target alike; None for validation.
        curriculum_epochs: the difficulty rises from 0 to 1 over so many epochs; 0: full difficulty from the beginning.
        **kwargs: ``seed``, ``batch_size`` and ``stage`` of :class:`ReconstructionPrepareBatch`.

    >>> slabs, brain = torch.full((2, 1, 24, 24), 0.5), torch.ones(2, 1, 24, 24)
    >>> batch = {"image": slabs, "mask": brain, "foreign": slabs[:, None], "foreign_mask": brain[:, None],
    ...          "slice": [10, 11], "epoch": [1, 1], "position": [0, 1]}
    >>> corruption = LocalCorruption(layers=1, clean_share=0.0)
    >>> corrupted, target, _, arguments = RestorationPrepareBatch(corruption, seed=1, batch_size=2, stage="val")(batch)
    >>> corrupted.shape, target.shape, arguments["heights"].tolist()
    (torch.Size([2, 1, 24, 24]), torch.Size([2, 3, 24, 24]), [10, 11])
    """

    def __init__(
        self,
        corruption: LocalCorruption,
        variation: ScannerVariation | None = None,
        curriculum_epochs: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.corruption = corruption
        self.variation = variation
        self.curriculum_epochs = curriculum_epochs

    def __call__(
        self, batchdata: Batch, device: torch.device | str | None = None, non_blocking: bool = False, **kwargs: Any
    ) -> Prepared:
        """Return corrupted slabs ``[B, C, H, W]``, target, no positional arguments, severities and heights."""
        parts = {name: _plain(batchdata[name]).to(device, non_blocking=non_blocking) for name in _SLABS}
        heights = torch.as_tensor(batchdata["slice"]).to(device)
        rows, generator = self._draws(batchdata)
        if not self._are_all(rows):  # draw as if the whole global batch were here
            parts = {name: self._whole(part, rows.to(part.device)) for name, part in parts.items()}
        slabs, brain = parts["image"].float(), parts["mask"] > 0
        if self.variation is not None:
            slabs, brain = self.variation(slabs, brain, generator)
        corrupted, severity = self.corruption(
            slabs, brain, parts["foreign"].float(), parts["foreign_mask"] > 0, generator, self._difficulty(batchdata)
        )
        middle = slice(slabs.shape[1] // 2, slabs.shape[1] // 2 + 1)
        residual, mask = (slabs - corrupted)[:, middle], changed(slabs, corrupted)[:, middle]
        target = torch.cat([residual, mask.float(), brain[:, middle].float()], dim=1)
        if not self._are_all(rows):
            rows = rows.to(corrupted.device)
            corrupted, target, severity = corrupted[rows], target[rows], severity[rows]
        return corrupted, target, (), {"severity": severity, "heights": heights}

    def _difficulty(self, batchdata: Batch) -> float:
        epoch = int(torch.as_tensor(batchdata["epoch"]).reshape(-1)[0])
        return 1.0 if self.stage != "train" else min(1.0, (epoch - 1) / max(self.curriculum_epochs, 1e-9))


class RestorationLoss(nn.Module):
    """Weighted L1 of the residual inside the brain plus binary cross-entropy of the mask.

    Args:
        residual_weight: of the L1.
        lesion_weight: of corrupted voxels within the L1, others weigh 1.
        positive_weight: of corrupted voxels within the cross-entropy.

    >>> loss = RestorationLoss(residual_weight=1.0, lesion_weight=2.0, positive_weight=1.0)
    >>> target = torch.zeros(1, 3, 4, 4)
    >>> target[:, 2] = 1  # all is brain, nothing is corrupted
    >>> prediction = torch.stack([torch.full((1, 4, 4), 0.1), torch.full((1, 4, 4), -20.0)], dim=1)
    >>> round(float(loss(prediction, target)), 3)
    0.1
    """

    def __init__(self, residual_weight: float, lesion_weight: float, positive_weight: float) -> None:
        super().__init__()
        self.residual_weight, self.lesion_weight = residual_weight, lesion_weight
        self.register_buffer("positive_weight", torch.tensor(float(positive_weight)), persistent=False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss of predictions ``[B, 2, H, W]`` for targets ``[B, 3, H, W]``."""
        residual, mask, brain = target[:, 0:1], target[:, 1:2], target[:, 2:3]
        voxels = brain.sum().clamp(min=1)
        weight = brain * (1 + (self.lesion_weight - 1) * mask)
        l1 = (weight * (prediction[:, :1] - residual).abs()).sum() / voxels
        positive = torch.as_tensor(self.positive_weight).to(prediction.device)
        entropy = F.binary_cross_entropy_with_logits(prediction[:, 1:], mask, pos_weight=positive, reduction="none")
        loss: Tensor = self.residual_weight * l1 + (brain * entropy).sum() / voxels
        return loss
