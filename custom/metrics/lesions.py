# SPDX-License-Identifier: Apache-2.0
"""Lesion-wise detection: recall over lesions (also by size), precision over predicted components, F1.

Lesions and predictions are split into 26-connected components. When does a lesion count as found?

``iou``       (default) lesion and component have intersection over union >= 0.1 (usual for small lesions) and are
              matched one to one, as many pairs as possible
``any``       one shared voxel is enough; a predicted component that touches a lesion is true, the others are false. A
              prediction of the whole brain has recall, precision and F1 of 1: never report it alone
``fraction``  at least 0.1 of the lesion is covered; a component is true if that share of it is lesion

Under ``any`` and ``fraction`` one component may find several lesions and several components may be true for one
lesion, so found lesions and true components differ in number; F1 is the harmonic mean of recall and precision
throughout. Size is that of the lesion in mm³. Checked against a loop over single components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from ..core.errors import ConfigError
from .arrays import Array, Mask, to_mask

Overlap = Literal["any", "fraction", "iou"]
SIZE_EDGES_MM3 = (0.0, 100.0, 1000.0, 10000.0)  # lower edges of the size bins
MIN_OVERLAP = 0.1
_NEIGHBOURS_26 = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class LesionCounts:
    """Lesions and components of one or more cases; ``a + b`` pools them.

    ``true_components`` are the predicted components that belong to a lesion; ``lesions_by_size`` and ``found_by_size`` count
    in the bins of ``SIZE_EDGES_MM3``, of which bin i is (edge i, edge i+1] and the last is open.

    >>> truth = np.zeros((8, 8, 8), dtype=bool)
    >>> truth[1:3, 1:3, 1:3] = truth[6, 6, 6] = True
    >>> marked = np.zeros_like(truth)
    >>> marked[1:3, 1:3, 1:3] = True
    >>> counts = lesion_counts(marked, truth, spacing_mm=(2, 2, 2))
    >>> counts.lesions, counts.recall, counts.precision, counts.lesions_by_size
    (2, 0.5, 1.0, (2, 0, 0, 0))
    """

    lesions: int
    found: int
    components: int
    true_components: int
    lesions_by_size: tuple[int, ...]
    found_by_size: tuple[int, ...]

    def __add__(self, other: LesionCounts) -> LesionCounts:
        return LesionCounts(
            self.lesions + other.lesions,
            self.found + other.found,
            self.components + other.components,
            self.true_components + other.true_components,
            tuple(map(sum, zip(self.lesions_by_size, other.lesions_by_size, strict=True))),
            tuple(map(sum, zip(self.found_by_size, other.found_by_size, strict=True))),
        )

    @property
    def recall(self) -> float | None:
        """Share of the lesions that were found; None if there is no lesion."""
        return self.found / self.lesions if self.lesions else None

    @property
    def precision(self) -> float | None:
        """Share of the predicted components that belong to a lesion; None if nothing is predicted."""
        return self.true_components / self.components if self.components else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of recall and precision; 0 if no lesion is found, None if there is none to find."""
        if self.recall is None:
            return None
        precision = self.precision or 0.0
        return 2 * precision * self.recall / (precision + self.recall) if precision + self.recall else 0.0

    @property
    def false_positive_components(self) -> int:
        """Predicted components that belong to no lesion."""
        return self.components - self.true_components

    def as_dict(self, void: bool = False) -> dict[str, float | None]:
        """Return metrics for a table of cases; by size ``lesion_recall_100_to_1000_mm3``, ``lesions_100_to_1000_mm3`` ...

        With ``void`` all are None: under a threshold that marks a large part of every brain, no lesion is *detected*.
        """
        result: dict[str, float | None] = {
            "lesion_recall": self.recall,
            "lesion_precision": self.precision,
            "lesion_f1": self.f1,
            "lesions": self.lesions,
            "false_positive_components": self.false_positive_components,
        }
        uppers = [*(f"to_{edge:g}" for edge in SIZE_EDGES_MM3[1:]), "and_more"]
        for low, high, n, found in zip(SIZE_EDGES_MM3, uppers, self.lesions_by_size, self.found_by_size, strict=True):
            result[f"lesion_recall_{low:g}_{high}_mm3"] = found / n if n else None
            result[f"lesions_{low:g}_{high}_mm3"] = n
        return dict.fromkeys(result) if void else result


def criterion(overlap: Overlap) -> str:
    """Return the criterion in words, for reports.

    >>> criterion("iou")
    'intersection over union at least 0.1, one component for one lesion'
    """
    return {
        "iou": f"intersection over union at least {MIN_OVERLAP:g}, one component for one lesion",
        "fraction": f"at least {MIN_OVERLAP:g} of the lesion covered, and of the component lesion",
        "any": "one shared voxel (a prediction of the whole brain finds every lesion)",
    }[overlap]


def _components(volume: Mask) -> tuple[NDArray[np.int32], int]:
    """Label 26-connected components within the bounding box, which is where the voxels are."""
    labels = np.zeros(volume.shape, dtype=np.int32)
    boxes = ndimage.find_objects(volume.view(np.uint8))
    if not boxes:
        return labels, 0
    labels[boxes[0]], count = ndimage.label(volume[boxes[0]], structure=_NEIGHBOURS_26)
    return labels, int(count)


def lesion_counts(
    prediction: Array, truth: Array, spacing_mm: Sequence[float], overlap: Overlap = "iou"
) -> LesionCounts:
    """Compare the lesions of one case with the predicted components; binary volumes ``[X, Y, Z]`` (or one more axis of 1)."""
    if overlap not in ("any", "fraction", "iou"):
        raise ConfigError(f'overlap is "any", "fraction" or "iou", got {overlap!r}.')
    predicted = to_mask(prediction, name="prediction")
    wanted = to_mask(truth, predicted.shape)
    shape = predicted.shape[-3:]
    lesion_of, lesions = _components(wanted.reshape(shape))
    component_of, components = _components(predicted.reshape(shape))
    lesion_sizes = np.bincount(lesion_of.ravel(), minlength=lesions + 1)[1:]
    component_sizes = np.bincount(component_of.ravel(), minlength=components + 1)[1:]
    shared = (lesion_of > 0) & (component_of > 0)
    pairs, voxels = np.unique(np.stack([lesion_of[shared], component_of[shared]]) - 1, axis=1, return_counts=True)
    found, true = _decide(pairs, voxels, lesion_sizes, component_sizes, overlap)
    bins = np.digitize(lesion_sizes * prod(spacing_mm), SIZE_EDGES_MM3, right=True) - 1
    return LesionCounts(
        lesions,
        int(found.sum()),
        components,
        int(true.sum()),
        tuple(np.bincount(bins, minlength=len(SIZE_EDGES_MM3)).tolist()),
        tuple(np.bincount(bins[found], minlength=len(SIZE_EDGES_MM3)).tolist()),
    )


def _decide(
    pairs: NDArray[Any],
    voxels: NDArray[Any],
    lesion_sizes: NDArray[Any],
    component_sizes: NDArray[Any],
    overlap: Overlap,
) -> tuple[Mask, Mask]:
    """Which lesions are found and which components are true, from the voxels that each overlapping pair shares."""
    lesion, component = pairs
    found, true = np.zeros(len(lesion_sizes), dtype=bool), np.zeros(len(component_sizes), dtype=bool)
    if overlap == "iou":
        union = lesion_sizes[lesion] + component_sizes[component] - voxels
        good = voxels >= MIN_OVERLAP * union
        graph = csr_array((np.ones(good.sum()), (lesion[good], component[good])), shape=(len(found), len(true)))
        if graph.nnz:
            partner = maximum_bipartite_matching(graph, perm_type="column")
            found = partner >= 0
            true[partner[found]] = True
        return found, true
    share = MIN_OVERLAP if overlap == "fraction" else 0.0
    covered = np.bincount(lesion, weights=voxels, minlength=len(found))
    correct = np.bincount(component, weights=voxels, minlength=len(true))
    return (covered > 0) & (covered >= share * lesion_sizes), (correct > 0) & (correct >= share * component_sizes)
