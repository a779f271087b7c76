# SPDX-License-Identifier: Apache-2.0
"""Voxel counts of a segmentation and the rates made of them.

Policy for an empty ground truth: Dice, precision, recall and FDR of the case are None (they are left out of means, and
the number of cases that entered is reported); false-positive volume and rate are always counted. An empty prediction
of a non-empty truth has Dice and recall 0 and no precision.
"""

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class ConfusionCounts:
    """Voxel counts; they add up over cases (pooled metrics)."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    @classmethod
    def of(cls, predicted: Array, truth: Array, region: Array | None = None) -> "ConfusionCounts":
        """Count two masks of one shape, inside ``region`` if given."""
        p, t = np.asarray(predicted) > 0, np.asarray(truth) > 0
        if region is not None:
            inside = np.asarray(region) > 0
            p, t = p[inside], t[inside]
        tp, predicted_sum, truth_sum = int((p & t).sum()), int(p.sum()), int(t.sum())
        return cls(tp, predicted_sum - tp, truth_sum - tp, p.size - predicted_sum - truth_sum + tp)

    def __add__(self, other: "ConfusionCounts") -> "ConfusionCounts":
        return ConfusionCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def dice(self) -> float | None:
        """2 TP / (2 TP + FP + FN); None for an empty truth."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp + self.fn else None

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP); None for an empty truth or an empty prediction."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fn and self.tp + self.fp else None

    @property
    def recall(self) -> float | None:
        """TP / (TP + FN); None for an empty truth."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else None

    @property
    def fpr(self) -> float | None:
        """True false-positive rate FP / (FP + TN); the papers' code reports FP / (FP + TP) under this name."""
        return self.fp / (self.fp + self.tn) if self.fp + self.tn else None

    @property
    def fdr(self) -> float | None:
        """False-discovery rate FP / (FP + TP); None where precision is."""
        return None if self.precision is None else 1 - self.precision

    def rates(self) -> dict[str, float | None]:
        """Return all rates by name."""
        return {name: getattr(self, name) for name in ("dice", "precision", "recall", "fpr", "fdr")}


def confusion_counts(prediction: Array, truth: Array, region: Array | None = None) -> ConfusionCounts:
    """Count two masks of one shape, inside ``region`` if given."""
    return ConfusionCounts.of(prediction, truth, region)


def segmentation_metrics(counts: ConfusionCounts) -> dict[str, float | None]:
    """Return all rates of the counts by name."""
    return counts.rates()
