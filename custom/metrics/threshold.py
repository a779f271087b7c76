# SPDX-License-Identifier: Apache-2.0
"""Exact and published searches for the threshold with the best pooled Dice; "anomalous" means score > threshold.

:func:`best_dice_threshold` sorts all voxels and is exact; :meth:`ScoreHistogram.best_dice` is the streaming version.
:func:`interval_search` is what the papers' released code does (Behrendt et al., ISBI 2024, after Zimmerer et al.):
it assumes a curve with one hump and can miss the optimum; it stands here to reproduce their protocol.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

Array = NDArray[Any]


def best_dice_threshold(scores: Array, truth: Array) -> tuple[float, float]:
    """Return the threshold with the largest Dice over all voxels, and this Dice.

    Args:
        scores: anomaly scores, any shape.
        truth: anomalous where > 0, same shape.

    Raises:
        DataError: no anomalous voxel.
    """
    values, labels = np.asarray(scores).ravel(), np.asarray(truth).ravel() > 0
    positives = int(labels.sum())
    if not positives:
        raise DataError("no anomalous voxel: a threshold cannot be tuned on scans without any; use a healthy quantile.")
    order = np.argsort(values, kind="stable")[::-1]
    values, labels = values[order], labels[order]
    last_of_run = np.append(values[1:] != values[:-1], True)
    true = np.cumsum(labels)[last_of_run]
    predicted = np.flatnonzero(last_of_run) + 1
    dice = 2 * true / (predicted + positives)
    best = int(np.argmax(dice))
    return float(np.nextafter(values[last_of_run][best], -np.inf)), float(dice[best])


def interval_search(maps: Sequence[Array], truths: Sequence[Array], steps: int = 10) -> tuple[float, float]:
    """Return threshold and pooled Dice of the papers' interval halving.

    Starting from [0, largest score], the Dice at 25 % and 75 % of the interval decides which half is kept; the best of
    all probes wins, later ones on ties.

    Args:
        maps: one map a case; they are visited one at a time.
        truths: the segmentations.
        steps: halvings; the papers take 10.
    """
    low, high = 0.0, max(float(np.max(m)) for m in maps)
    positives = sum(int((np.asarray(t) > 0).sum()) for t in truths)
    if not positives:
        raise DataError("no anomalous voxel: a threshold cannot be tuned on scans without any; use a healthy quantile.")

    def dice_at(threshold: float) -> float:
        predicted = [np.asarray(m) > threshold for m in maps]
        true = sum(int((p & (np.asarray(t) > 0)).sum()) for p, t in zip(predicted, truths, strict=True))
        return 2 * true / (sum(int(p.sum()) for p in predicted) + positives)

    best, best_dice = 0.0, -1.0
    for _ in range(steps):
        probes = [low + share * (high - low) for share in (0.25, 0.75)]
        found = [dice_at(probe) for probe in probes]
        for probe, dice in zip(probes, found, strict=True):
            if dice >= best_dice:
                best, best_dice = probe, dice
        middle = (low + high) / 2
        low, high = (low, middle) if found[0] >= found[1] else (middle, high)
    return best, best_dice
