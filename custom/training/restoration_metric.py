# SPDX-License-Identifier: Apache-2.0
"""Validation metric of restoration networks: how much of a corruption stays, and how well it is marked."""

from typing import Any

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric

from ..metrics import ScoreHistogram


class RestorationError(Metric):
    """(remaining error + 1 - AP of the mask + 1 - AP of the residual) / 3 over fixed corrupted slabs; 0 is perfect.

    The remaining error is Σ |restored - clean| / Σ |corrupted - clean| over the changed voxels; average precisions are
    pooled over the voxels of all brains: of the mask's probability, and of |restored - corrupted|. All three parts are
    attributes after :meth:`compute`. Predictions and targets are those of :mod:`custom.training.restoration`.

    >>> mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    >>> target = torch.cat([0.5 * mask, mask, torch.ones_like(mask)], dim=1)
    >>> metric = RestorationError()
    >>> metric.update((torch.cat([0.5 * mask, 10 * mask - 5], dim=1), target))
    >>> metric.compute(), metric.remaining_error, metric.mask_precision
    (0.0, 0.0, 1.0)
    """

    def reset(self) -> None:
        """Forget everything."""
        self._remaining = self._corrupted = 0.0
        self._mask, self._residual = ScoreHistogram(), ScoreHistogram()

    def update(self, output: Any) -> None:
        """Add a batch: ``(prediction [B, 2, H, W], target [B, 3, H, W])``."""
        prediction, target = (torch.stack(list(part)) if isinstance(part, (list, tuple)) else part for part in output)
        residual, mask, brain = (target[:, channel] for channel in range(3))
        changed = mask > 0
        self._remaining += float((prediction[:, 0] - residual)[changed].abs().sum())
        self._corrupted += float(residual[changed].abs().sum())
        self._mask.update(prediction[:, 1].sigmoid(), mask, brain)
        self._residual.update(prediction[:, 0].abs(), mask, brain)

    def compute(self) -> float:
        """Return the metric."""
        if not self._corrupted:
            raise NotComputableError("no validation slab was corrupted; take more validation slices")
        self.remaining_error = self._remaining / self._corrupted
        self.mask_precision = self._mask.average_precision()
        self.residual_precision = self._residual.average_precision()
        return (self.remaining_error + 2 - self.mask_precision - self.residual_precision) / 3
