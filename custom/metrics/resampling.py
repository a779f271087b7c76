# SPDX-License-Identifier: Apache-2.0
"""Uncertainty over subjects: bootstrap intervals and paired permutation tests, by SciPy.

The unit is the subject (case), never the voxel. A standard deviation over folds says how much training varies; it is
no confidence interval for other patients, which these are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 2000
PERMUTATIONS = 10_000


def bootstrap_mean(values: Sequence[float], seed: int, level: float = 0.95) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of the mean; None for fewer than 2 values."""
    sample = np.asarray(values, float)
    if len(sample) < 2:
        return None
    if np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    result = stats.bootstrap(
        (sample,), np.mean, n_resamples=RESAMPLES, confidence_level=level, method="percentile", rng=np.random.default_rng(seed)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def bootstrap_pooled_dice(counts: NDArray[Any], seed: int, level: float = 0.95) -> tuple[float, float] | None:
    """Return the percentile interval of the pooled Dice when whole subjects are drawn again.

    Args:
        counts: ``[subjects, 3]`` with TP, FP, FN.
        seed: of the draws.
        level: of the interval.
    """
    table = np.asarray(counts, float)
    if len(table) < 2:
        return None
    draws = np.random.default_rng(seed).integers(0, len(table), (RESAMPLES, len(table)))
    tp, fp, fn = np.moveaxis(table[draws].sum(axis=1), -1, 0)
    denominator = 2 * tp + fp + fn
    dice = np.divide(2 * tp, denominator, out=np.zeros_like(tp), where=denominator > 0)
    low, high = np.quantile(dice, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_permutation_test(first: Sequence[float], second: Sequence[float], seed: int) -> float:
    """Return the two-sided p-value of "both have the same mean" under random swaps within pairs.

    Exact for up to 13 pairs (all swaps), otherwise 10,000 random ones; the smallest possible value is then 1e-4.
    """
    result = stats.permutation_test(
        (np.asarray(first, float), np.asarray(second, float)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)
