# SPDX-License-Identifier: Apache-2.0
"""Lesion-wise detection: recall over lesions (also by size), precision over predicted components, F1.

Lesions and predictions are split into 26-connected components. A lesion is found by a component if both have an
intersection over union of at least 0.1 (usual for small lesions); they are matched one to one, as many pairs as possible. (If
one shared voxel were enough, a prediction of the whole brain would have recall, precision and F1 of 1.) Size is that of the
lesion in mm³. Checked against a loop over single components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from .arrays import Array, Mask, to_mask

SIZE_EDGES_MM3 = (0.0, 100.0, 1000.0, 10000.0)  # lower edges of the size bins
MIN_OVERLAP = 0.1
CRITERION = f"intersection over union at least {MIN_OVERLAP:g}, one component for one lesion"
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


def _components(volume: Mask) -> tuple[NDArray[np.int32], int]:
    """Label 26-connected components within the bounding box, which is where the voxels are."""
    labels = np.zeros(volume.shape, dtype=np.int32)
    boxes = ndimage.find_objects(volume.view(np.uint8))
    if not boxes:
        return labels, 0
    labels[boxes[0]], count = ndimage.label(volume[boxes[0]], structure=_NEIGHBOURS_26)
    return labels, int(count)


def lesion_counts(prediction: Array, truth: Array, spacing_mm: Sequence[float]) -> LesionCounts:
    """Compare the lesions of one case with the predicted components; binary volumes ``[X, Y, Z]`` (or one more axis of 1)."""
    predicted = to_mask(prediction, name="prediction")
    wanted = to_mask(truth, predicted.shape)
    shape = predicted.shape[-3:]
    lesion_of, lesions = _components(wanted.reshape(shape))
    component_of, components = _components(predicted.reshape(shape))
    lesion_sizes = np.bincount(lesion_of.ravel(), minlength=lesions + 1)[1:]
    component_sizes = np.bincount(component_of.ravel(), minlength=components + 1)[1:]
    shared = (lesion_of > 0) & (component_of > 0)
    pairs, voxels = np.unique(np.stack([lesion_of[shared], component_of[shared]]) - 1, axis=1, return_counts=True)
    found = _found(pairs, voxels, lesion_sizes, component_sizes)
    bins = np.digitize(lesion_sizes * prod(spacing_mm), SIZE_EDGES_MM3, right=True) - 1
    return LesionCounts(
        lesions,
        int(found.sum()),
        components,
        int(found.sum()),
        tuple(np.bincount(bins, minlength=len(SIZE_EDGES_MM3)).tolist()),
        tuple(np.bincount(bins[found], minlength=len(SIZE_EDGES_MM3)).tolist()),
    )


def _found(
    pairs: NDArray[Any], voxels: NDArray[Any], lesion_sizes: NDArray[Any], component_sizes: NDArray[Any]
) -> Mask:
    """Return which lesions are found, each by a component of its own, from the voxels that each overlapping pair shares."""
    lesion, component = pairs
    good = voxels >= MIN_OVERLAP * (lesion_sizes[lesion] + component_sizes[component] - voxels)
    shape = (len(lesion_sizes), len(component_sizes))
    graph = csr_array((np.ones(good.sum()), (lesion[good], component[good])), shape=shape)
    if not graph.nnz:
        return np.zeros(len(lesion_sizes), dtype=bool)
    return np.asarray(maximum_bipartite_matching(graph, perm_type="column") >= 0)
