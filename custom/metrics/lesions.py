# SPDX-License-Identifier: Apache-2.0
"""Lesion-wise detection: recall over lesions (also by size), precision over predicted components, F1.

Lesions and predictions are split into 26-connected components. When does a lesion count as found?

``iou``       (default) lesion and component have intersection over union >= ``min_overlap`` (0.1 is usual for small
              lesions) and are matched one to one, as many pairs as possible
``any``       one shared voxel is enough; a predicted component that touches a lesion is true, the others are false. A
              prediction of the whole brain has recall, precision and F1 of 1: never report it alone
``fraction``  at least ``min_overlap`` of the lesion is covered; a component is true if that share of it is lesion

Under ``any`` and ``fraction`` one component may find several lesions and several components may be true for one
lesion, so found lesions and true components differ in number; F1 is the harmonic mean of recall and precision
throughout. Size is that of the lesion in mm³. Checked against a loop over single components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
SIZE_EDGES_MM3 = (0.0, 100.0, 1000.0, 10000.0)
_NEIGHBOURS_26 = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class LesionCounts:
    """Lesions and components of one or more cases; ``a + b`` pools them.

    Args:
        lesions: true lesions.
        found: those that were found.
        components: predicted components.
        true_components: those that belong to a lesion.
        size_edges_mm3: lower edges of the size bins; bin i is (edge i, edge i+1], the last is open.
        lesions_by_size: lesions in each bin.
        found_by_size: found ones in each bin.

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
    size_edges_mm3: tuple[float, ...] = SIZE_EDGES_MM3
    lesions_by_size: tuple[int, ...] = field(default=())
    found_by_size: tuple[int, ...] = field(default=())

    def __add__(self, other: LesionCounts) -> LesionCounts:
        if self.size_edges_mm3 != other.size_edges_mm3:
            raise ConfigError(f"Size bins {self.size_edges_mm3} and {other.size_edges_mm3} mm³ cannot be pooled.")
        return LesionCounts(
            self.lesions + other.lesions,
            self.found + other.found,
            self.components + other.components,
            self.true_components + other.true_components,
            self.size_edges_mm3,
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
        uppers = [*(f"to_{edge:g}" for edge in self.size_edges_mm3[1:]), "and_more"]
        for low, high, n, found in zip(
            self.size_edges_mm3, uppers, self.lesions_by_size, self.found_by_size, strict=True
        ):
            result[f"lesion_recall_{low:g}_{high}_mm3"] = found / n if n else None
            result[f"lesions_{low:g}_{high}_mm3"] = n
        return dict.fromkeys(result) if void else result


def criterion(overlap: Overlap, min_overlap: float = 0.1) -> str:
    """Return the criterion in words, for reports.

    >>> criterion("iou")
    'intersection over union at least 0.1, one component for one lesion'
    """
    return {
        "iou": f"intersection over union at least {min_overlap:g}, one component for one lesion",
        "fraction": f"at least {min_overlap:g} of the lesion covered, and of the component lesion",
        "any": "one shared voxel (a prediction of the whole brain finds every lesion)",
    }[overlap]


def _components(volume: Mask) -> tuple[NDArray[np.int32], int]:
    """Label 26-connected components within the bounding box, which is where the voxels are."""
    labels = np.zeros(volume.shape, dtype=np.int32)
    if not volume.any():
        return labels, 0
    extents = [np.flatnonzero(volume.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(int(extent[0]), int(extent[-1]) + 1) for extent in extents)
    labels[box], count = ndimage.label(volume[box], structure=_NEIGHBOURS_26)
    return labels, int(count)


def lesion_counts(
    prediction: Array,
    truth: Array,
    spacing_mm: Sequence[float],
    region: Array | None = None,
    overlap: Overlap = "iou",
    min_overlap: float = 0.1,
    size_edges_mm3: Sequence[float] = SIZE_EDGES_MM3,
) -> LesionCounts:
    """Compare the lesions of one case with the predicted components; volumes ``[X, Y, Z]`` (or one more axis of 1).

    Args:
        prediction: binary.
        truth: binary.
        spacing_mm: voxel size.
        region: both are cut to it before they are split into components; None = the whole grid.
        overlap: criterion, see above.
        min_overlap: share (``fraction``) or intersection over union (``iou``) that is asked for; ``any`` ignores it.
        size_edges_mm3: ascending lower edges of the size bins, the first 0.
    """
    edges = tuple(float(edge) for edge in size_edges_mm3)
    if overlap not in ("any", "fraction", "iou"):
        raise ConfigError(f'overlap is "any", "fraction" or "iou", got {overlap!r}.')
    if not 0 < min_overlap <= 1 or not edges or edges[0] != 0 or list(edges) != sorted(set(edges)):
        raise ConfigError(
            f"min_overlap lies in (0, 1] and size edges ascend from 0, got {min_overlap} and {list(edges)}."
        )
    predicted = to_mask(prediction, name="prediction")
    wanted = to_mask(truth, predicted.shape)
    if region is not None:
        inside = to_mask(region, predicted.shape, "region")
        predicted, wanted = predicted & inside, wanted & inside
    shape = predicted.shape[-3:]
    lesion_of, lesions = _components(wanted.reshape(shape))
    component_of, components = _components(predicted.reshape(shape))
    lesion_sizes = np.bincount(lesion_of.ravel(), minlength=lesions + 1)[1:]
    component_sizes = np.bincount(component_of.ravel(), minlength=components + 1)[1:]
    shared = (lesion_of > 0) & (component_of > 0)
    pairs, voxels = np.unique(np.stack([lesion_of[shared], component_of[shared]]) - 1, axis=1, return_counts=True)
    found, true = _decide(pairs, voxels, lesion_sizes, component_sizes, overlap, min_overlap)
    bins = np.digitize(lesion_sizes * prod(spacing_mm), edges, right=True) - 1
    return LesionCounts(
        lesions,
        int(found.sum()),
        components,
        int(true.sum()),
        edges,
        tuple(np.bincount(bins, minlength=len(edges)).tolist()),
        tuple(np.bincount(bins[found], minlength=len(edges)).tolist()),
    )


def _decide(
    pairs: NDArray[Any],
    voxels: NDArray[Any],
    lesion_sizes: NDArray[Any],
    component_sizes: NDArray[Any],
    overlap: Overlap,
    min_overlap: float,
) -> tuple[Mask, Mask]:
    """Which lesions are found and which components are true, from the voxels that each overlapping pair shares."""
    lesion, component = pairs
    found, true = np.zeros(len(lesion_sizes), dtype=bool), np.zeros(len(component_sizes), dtype=bool)
    if overlap == "iou":
        union = lesion_sizes[lesion] + component_sizes[component] - voxels
        good = voxels >= min_overlap * union
        graph = csr_array((np.ones(good.sum()), (lesion[good], component[good])), shape=(len(found), len(true)))
        if graph.nnz:
            partner = maximum_bipartite_matching(graph, perm_type="column")
            found = partner >= 0
            true[partner[found]] = True
        return found, true
    share = min_overlap if overlap == "fraction" else 0.0
    covered = np.bincount(lesion, weights=voxels, minlength=len(found))
    correct = np.bincount(component, weights=voxels, minlength=len(true))
    return (covered > 0) & (covered >= share * lesion_sizes), (correct > 0) & (correct >= share * component_sizes)
