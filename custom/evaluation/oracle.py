# SPDX-License-Identifier: Apache-2.0
"""The threshold with the largest mean Dice of a group's scans after the whole chain, and what no threshold can exceed.

⌈Dice⌉ of the literature (Baur et al. 2021, Meissen et al. 2021) is searched on the map itself; small components are removed
afterwards, so a scan of specks may end below the result of another threshold. Here each threshold that is tried goes
through the whole chain. A lower threshold never takes voxels away, also not behind the removal of small components;
for t in [a, b) a scan therefore has at most the true positives of a and at least the flagged voxels of b, and

    Dice(t) <= 2 TP_a / (max(flagged_b, TP_a) + truth).

The search splits the intervals whose bound exceeds the best mean found, until none does by more than the tolerance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..metrics import ScoreHistogram
from .collector import MapCollector
from .spool import CaseInfo

TOLERANCE = 0.002
_ROUNDS, _FIRST, _PER_ROUND = 10, 8, 8


@dataclass(frozen=True)
class Oracle:
    """The best threshold found, its mean Dice over scans, and a mean Dice that no threshold exceeds.

    >>> best = Oracle(threshold=0.21, mean_dice=0.614, bound=0.6155)
    >>> best.bound - best.mean_dice <= TOLERANCE  # the search ends here
    True
    """

    threshold: float
    mean_dice: float
    bound: float


@dataclass
class _Search:
    """Counts of true positives and flagged voxels, ``[scans]``, of every threshold tried."""

    collector: MapCollector
    cases: Sequence[CaseInfo]
    variant: str
    truth: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    tried: dict[float, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict)

    def run(self, thresholds: Sequence[float]) -> None:
        """Apply the whole chain at new thresholds; every map is loaded once."""
        new = [t for t in dict.fromkeys(thresholds) if t not in self.tried]
        if not new:
            return
        chain = self.collector.postprocessing_of(self.variant)
        counts = np.zeros((len(new), 2, len(self.cases)), np.int64)
        truth = []
        for column, case in enumerate(self.cases):
            seg = torch.from_numpy(self.collector.volume(case, "seg")) > 0
            anomaly_map = torch.from_numpy(self.collector.volume(case, self.variant))
            truth.append(int(seg.sum()))
            for row, threshold in enumerate(new):
                binary = chain.binarise(anomaly_map, threshold, self.collector.spacing_mm)
                counts[row, :, column] = int((binary & seg).sum()), int(binary.sum())
        self.truth = np.array(truth)
        self.tried |= {threshold: (hits, flagged) for threshold, (hits, flagged) in zip(new, counts, strict=True)}

    def mean_dice(self, threshold: float) -> float:
        """Return the mean over scans at a threshold that was tried."""
        hits, flagged = self.tried[threshold]
        return float((2 * hits / (flagged + self.truth)).mean())

    def bound(self, low: float, high: float) -> float:
        """Return what no threshold in [low, high) exceeds."""
        hits, flagged = self.tried[low][0], self.tried[high][1]
        return float((2 * hits / (np.maximum(flagged, hits) + self.truth)).mean())


def oracle(
    collector: MapCollector,
    cases: Sequence[CaseInfo],
    variant: str,
    histogram: ScoreHistogram,
    candidates: Sequence[float] = (),
    tolerance: float = TOLERANCE,
) -> Oracle:
    """Return the best threshold for the scans that have anomalous voxels; there must be one.

    Args:
        collector: holds the maps.
        cases: the group.
        variant: score and post-processing.
        histogram: of the maps of the group.
        candidates: thresholds that are tried in any case; the result is at least as good as each of them.
        tolerance: the search stops when no threshold can be better by more.
    """
    lesioned = [case for case in cases if collector.volume(case, "seg").any()]
    edges: NDArray[Any] = histogram.thresholds()
    anomalous: NDArray[Any] = histogram.above()[1]
    search = _Search(collector, lesioned, variant)
    levels = np.linspace(anomalous[0], 0, _FIRST)
    start = [float(edges[min(int((anomalous > level).sum()), len(edges) - 1)]) for level in levels]
    search.run([0.0, *candidates, *start, float(edges[-1])])
    bounds: dict[tuple[float, float], float] = {}
    for _ in range(_ROUNDS):
        tried = sorted(search.tried)
        best = max(map(search.mean_dice, tried))
        bounds = {pair: search.bound(*pair) for pair in pairwise(tried)}
        wide = sorted((pair for pair, bound in bounds.items() if bound > best + tolerance), key=lambda p: -bounds[p])
        new = [middle for pair in wide[:_PER_ROUND] if (middle := _middle(*pair, edges, anomalous)) is not None]
        if not new:
            break
        search.run(new)
    winner = max(sorted(search.tried), key=search.mean_dice)
    best = search.mean_dice(winner)
    return Oracle(winner, best, max([best, *bounds.values()]))


def _middle(low: float, high: float, edges: NDArray[Any], anomalous: NDArray[Any]) -> float | None:
    """Return the bin edge between two thresholds that halves their anomalous voxels, or failing that the bins."""
    first, last = int(np.searchsorted(edges, low, side="right")), int(np.searchsorted(edges, high, side="left"))
    if first >= last:
        return None
    wanted = 0.5 * (anomalous[first] + anomalous[last - 1])
    place = first + int((anomalous[first:last] > wanted).sum())
    return float(edges[place if first < place < last else (first + last) // 2])
