# SPDX-License-Identifier: Apache-2.0
"""Lesion-wise detection: connected components of truth and prediction, by lesion size.

A lesion is a 26-connected component of the truth; it is detected if the prediction touches at least ``min_overlap`` of
it (0: one voxel suffices). A predicted component is a false positive if it touches no lesion. Size bins are volumes in
mm^3; at 2 mm a voxel has 8 mm^3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]
SIZE_BINS_MM3 = (0.0, 100.0, 1000.0, 10000.0, float("inf"))
_EVERY_NEIGHBOUR = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class LesionCounts:
    """Counts that add up over cases.

    Attributes:
        sizes_mm3: volume of every lesion.
        detected: whether it was found, in the same order.
        false_positives: predicted components that touch no lesion.
        true_components: predicted components that touch a lesion.
    """

    sizes_mm3: tuple[float, ...] = ()
    detected: tuple[bool, ...] = ()
    false_positives: int = 0
    true_components: int = 0

    def __add__(self, other: "LesionCounts") -> "LesionCounts":
        return LesionCounts(
            self.sizes_mm3 + other.sizes_mm3,
            self.detected + other.detected,
            self.false_positives + other.false_positives,
            self.true_components + other.true_components,
        )

    @property
    def recall(self) -> float | None:
        """Share of lesions detected; None without lesions."""
        return sum(self.detected) / len(self.detected) if self.detected else None

    @property
    def precision(self) -> float | None:
        """Share of predicted components that touch a lesion; None without predictions or lesions."""
        found = self.true_components + self.false_positives
        return self.true_components / found if found and self.detected else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of lesion-wise precision and recall; 0 if nothing is found, None without lesions."""
        if self.recall is None:
            return None
        precision = self.precision or 0.0
        return 2 * precision * self.recall / (precision + self.recall) if precision + self.recall else 0.0

    def recall_by_size(self, bins_mm3: Sequence[float] = SIZE_BINS_MM3) -> dict[str, dict[str, float | int | None]]:
        """Return number of lesions and recall in every bin (lower border included, upper excluded)."""
        result: dict[str, dict[str, float | int | None]] = {}
        for low, high in zip(bins_mm3[:-1], bins_mm3[1:], strict=True):
            hits = [d for size, d in zip(self.sizes_mm3, self.detected, strict=True) if low <= size < high]
            name = f"{low:g}-{high:g} mm3" if np.isfinite(high) else f">={low:g} mm3"
            result[name] = {"lesions": len(hits), "recall": sum(hits) / len(hits) if hits else None}
        return result

    def summary(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "lesions": len(self.detected),
            "recall": self.recall,
            "precision": self.precision,
            "f1": self.f1,
            "false_positives": self.false_positives,
            "by_size": self.recall_by_size(),
        }


@dataclass(frozen=True)
class LesionMatcher:
    """Count the lesions of one case.

    Args:
        spacing_mm: voxel size.
        min_overlap: share of a lesion that must be predicted for it to count as detected; 0 asks for one voxel.
    """

    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 2.0)
    min_overlap: float = 0.0
    _volume: float = field(init=False, default=8.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_volume", float(np.prod(self.spacing_mm)))

    def __call__(self, predicted: Array, truth: Array) -> LesionCounts:
        """Return the counts of masks ``[X, Y, Z]``."""
        p, t = np.asarray(predicted) > 0, np.asarray(truth) > 0
        lesions, number = ndimage.label(t, _EVERY_NEIGHBOUR)
        components, found = ndimage.label(p, _EVERY_NEIGHBOUR)
        sizes = np.bincount(lesions.ravel(), minlength=number + 1)[1:]
        overlap = np.bincount(lesions[p].ravel(), minlength=number + 1)[1:]
        detected = (overlap > 0) & (overlap >= self.min_overlap * sizes)
        touching = np.unique(components[t & p])
        true = int((touching > 0).sum())
        return LesionCounts(
            tuple(float(s) * self._volume for s in sizes), tuple(bool(d) for d in detected), int(found) - true, true
        )
