# SPDX-License-Identifier: Apache-2.0
"""Where the binarisation threshold comes from; "anomalous" means score > threshold, everywhere.

``tuned``            largest pooled Dice on *labelled* validation scans, exact (:func:`best_dice_threshold`)
``interval_search``  same aim by the greedy search of the papers' released code (:func:`interval_search`)
``healthy_fpr_*``    quantile of the scores of healthy brains, no labels (:func:`healthy_quantile_threshold`)
``conformal_*``      healthy scans, for a promise about a new *scan* (:func:`conformal_case_threshold`)
``oracle``           best on the test scans themselves after the whole chain (⌈Dice⌉), never a result

Thresholds are >= 0, so a score of exactly 0 is never flagged. "Pooled" Dice takes the voxels of all scans as one
volume, so large lesions decide. Checked by trying every value.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ConfigError, DataError
from .arrays import Array, Mask, inside, to_numpy, to_scores, to_tensor
from .histogram import ScoreHistogram

Volumes = Iterable[Array]


def best_dice_threshold(maps: Volumes, truths: Volumes, histogram: ScoreHistogram | None = None) -> tuple[float, float]:
    """Return ``(threshold, dice)`` with the largest pooled Dice over all thresholds >= 0: exact, not on a grid.

    A histogram gives the exact Dice at its bin edges. Inside a bin the Dice cannot exceed that of taking all of its
    anomalous and none of its normal voxels; only the voxels of bins whose bound beats the best edge are sorted. The
    maps are gone through twice (once if their ``histogram`` is given): pass arrays or sequences (which may load each
    map when asked), no generators.

    Args:
        maps: one a case; scores >= 0, compared in float32.
        truths: alike, anomalous where > 0.
        histogram: filled before with exactly these voxels.

    Raises:
        DataError: no anomalous voxel.
    """
    if histogram is None:
        histogram = ScoreHistogram()
        for case in zip(maps, truths, strict=True):
            histogram.update(*case)
    best = histogram.best_dice()
    total, counts = histogram.total_anomalous, histogram.counts
    fp, tp = histogram.above()[:, 1:]
    bound = 2 * (tp + counts[1]) / (tp + counts[1] + fp + total)
    candidate = (bound > best[1]) & (counts.sum(axis=0) > 1)
    if not candidate.any():
        return best
    values, labels, slots = _voxels_of(candidate, histogram, zip(maps, truths, strict=True))
    if len(values) != counts[:, candidate].sum():
        raise DataError(
            f"The histogram knows {counts[:, candidate].sum()} voxels where the maps have {len(values)}: it was filled "
            "with other voxels, or the maps could be gone through only once. Pass sequences and their own histogram."
        )
    order = np.argsort(values)[::-1]
    values, labels, slots = values[order], labels[order], slots[order]
    unsorted = np.where(candidate, 0, counts)[:, ::-1].cumsum(axis=1)[:, ::-1]  # voxels above that were not sorted
    last = np.append(values[1:] != values[:-1], True)  # of equal scores all are flagged or none
    hits = (labels.cumsum() + unsorted[1, slots])[last]
    flagged = (np.arange(1, len(values) + 1) + unsorted[:, slots].sum(axis=0))[last]
    dice = 2 * hits / (flagged + total)
    index = int(dice.argmax())
    if dice[index] <= best[1]:
        return best
    lowest_flagged = int(np.flatnonzero(last)[index])  # never the lowest of its bin: that would be an edge
    return float(values[lowest_flagged + 1]), float(dice[index])


def _voxels_of(
    candidate: Mask, histogram: ScoreHistogram, cases: Iterable[tuple[Array, Array]]
) -> tuple[NDArray[np.float32], Mask, NDArray[np.int64]]:
    """Scores, labels and indices of the bin (in the window) of all voxels that lie in candidate bins."""
    wanted = np.concatenate([[False], candidate, [False]])
    parts = []
    for scores, truth in cases:
        values, labels = inside(to_numpy(scores).astype(np.float32, copy=False), truth, None)
        slots = (histogram.bins_of(to_tensor(values)).numpy() - (histogram.first_bin - 1)).clip(0, len(candidate) + 1)
        chosen = np.flatnonzero(wanted[slots])
        parts.append((values[chosen], labels[chosen], slots[chosen].astype(np.int64) - 1))
    if not parts:
        return np.zeros(0, np.float32), np.zeros(0, bool), np.zeros(0, np.int64)
    all_values, all_labels, all_slots = (np.concatenate(part) for part in zip(*parts, strict=True))
    return all_values, all_labels, all_slots


def interval_search(maps: Volumes, truths: Volumes, steps: int = 10) -> tuple[float, float]:
    """Return threshold and pooled Dice of the papers' interval halving (preset ``isbi2024``).

    Behrendt et al. (ISBI 2024, released code; after Zimmerer et al.): starting from [0, largest score], the Dice at
    25 % and 75 % of the interval decides which half is kept (the lower one if equal). Of the two probes only the better
    one (the lower if equal) may replace the best so far, and does so if it is at least as good. Resolution: largest
    score / 2^steps. It assumes a curve with one hump and can miss the optimum.

    Args:
        maps: one a case; the scores above 0 of all of them are held in memory.
        truths: the segmentations.
        steps: halvings; the papers take 10.

    Raises:
        DataError: no anomalous voxel.
    """
    parts = [inside(to_scores(scores), truth, None) for scores, truth in zip(maps, truths, strict=True)]
    total = sum(int(np.count_nonzero(labels)) for _, labels in parts)
    if not total:
        raise DataError("no anomalous voxel: a threshold cannot be tuned on scans without any; use a healthy quantile.")
    anomalous = np.concatenate([values[labels & (values > 0)] for values, labels in parts])
    normal = np.concatenate([values[~labels & (values > 0)] for values, labels in parts])

    def dice_at(threshold: float) -> float:
        hits = int(np.count_nonzero(anomalous > threshold))
        return 2 * hits / (hits + int(np.count_nonzero(normal > threshold)) + total)

    low, high = 0.0, float(max(anomalous.max(initial=0), normal.max(initial=0)))
    best, best_dice = 0.0, -1.0
    for _ in range(steps):
        lower, upper, middle = (low + share * (high - low) for share in (0.25, 0.75, 0.5))
        dice_lower, dice_upper = dice_at(lower), dice_at(upper)
        winner = (lower, dice_lower) if dice_lower >= dice_upper else (upper, dice_upper)
        if winner[1] >= best_dice:
            best, best_dice = winner
        low, high = (low, middle) if dice_lower >= dice_upper else (middle, high)
    return best, best_dice


def _check_rate(rate: float, name: str) -> None:
    if not 0 < rate < 1:
        raise ConfigError(f"{name} is a share between 0 and 1 (0.01 = 1 %), got {rate}.")


def healthy_quantile_threshold(scores: Array, fpr: float) -> float:
    """Return the lowest threshold that at most the share ``fpr`` of healthy brain voxels exceeds (strictly).

    Give scores of healthy scans *inside the brain mask* only: with the background in, 1 % of all voxels is several per
    cent of the brain. Voxels of one scan are alike, so the rate on *another* scan scatters with the number of scans,
    not of voxels; with fewer than some 20 scans use :func:`conformal_case_threshold`, which holds for any number.

    Args:
        scores: values of any shape.
        fpr: wanted voxel-wise false-positive rate.
    """
    _check_rate(fpr, "The false-positive rate")
    values = to_scores(scores).ravel()
    if not values.size:
        raise DataError("A healthy threshold needs voxels of healthy brains, got none. Check the brain masks.")
    rank = values.size - 1 - int(np.floor(fpr * values.size * (1 + 1e-12)))
    return float(np.partition(values, rank)[rank])


def conformal_case_threshold(case_scores: Sequence[float], rate: float) -> float:
    """Return a threshold that a *new* healthy scan's score exceeds with probability <= ``rate`` (split conformal).

    The k-th smallest of n calibration scores with k = ⌈(n + 1)(1 - rate)⌉; valid for any n if scans are exchangeable
    (same scanners and population). With each scan's largest score, a new healthy scan has any flagged voxel with
    probability <= ``rate``; with each scan's own 1 % quantile, it has more than 1 % flagged with that probability.

    Raises:
        DataError: too few scans; the smallest rate that n scans can promise is 1 / (n + 1).
    """
    _check_rate(rate, "The rate of flagged healthy scans")
    values = np.sort(to_scores(np.asarray(case_scores, dtype=np.float64), "list of scan scores"))
    rank = int(np.ceil((values.size + 1) * (1 - rate) * (1 - 1e-12)))
    if rank > values.size:
        raise DataError(
            f"{values.size} healthy scan(s) can promise a rate of {1 / (values.size + 1):.3g} at best, {rate:g} was "
            f"asked for. Calibrate with at least {int(np.ceil(1 / rate * (1 - 1e-12))) - 1} scans or ask for less."
        )
    return float(values[rank - 1])
