# SPDX-License-Identifier: Apache-2.0
"""Voxel counts of a segmentation and the rates made of them, per case and pooled.

Policy for an empty ground truth: Dice, precision, recall and FDR of the case are None (they are left out of means, and
the numbers of cases that entered and did not are reported); false-positive volume and rate are always counted. An empty
prediction of a non-empty truth has Dice and recall 0 and no precision. The code released with Behrendt et al. (ISBI
2024) gives an empty truth Dice 0 if anything is predicted and drops it as NaN if nothing is, calls the FDR "FPR" and
swaps the four counts. The whole grid counts, as in that paper. Checked against scikit-learn.
"""

from dataclasses import astuple, dataclass

import numpy as np

from .arrays import Array, to_mask

RATES = ("dice", "precision", "recall", "fpr", "fdr")


@dataclass(frozen=True)
class ConfusionCounts:
    """Voxel counts; they add up over cases (pooled metrics).

    >>> counts = ConfusionCounts(tp=3, fp=1, fn=1, tn=5)
    >>> counts.dice, counts.precision, counts.fpr
    (0.75, 0.75, 0.16666666666666666)
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

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
        """Return the rates of a result table by name."""
        return {name: getattr(self, name) for name in RATES}


def confusion_counts(prediction: Array, truth: Array) -> ConfusionCounts:
    """Count two masks of one shape."""
    predicted = to_mask(prediction, name="prediction")
    wanted = to_mask(truth, predicted.shape)
    tp, flagged, anomalous = (int(np.count_nonzero(voxels)) for voxels in (predicted & wanted, predicted, wanted))
    return ConfusionCounts(tp, flagged - tp, anomalous - tp, predicted.size - flagged - anomalous + tp)
