# SPDX-License-Identifier: Apache-2.0
"""Uncertainty over subjects: bootstrap confidence intervals and the paired permutation test.

Subjects are resampled, never voxels or slices (those of one brain are not independent). The standard deviation over
folds is no confidence interval: the folds share most training and all test scans. Intervals are BCa of 95 %
(Efron 1987: bias-corrected and accelerated, Dice over subjects is skewed) from 2000 resamples; scipy draws them. Below ten
subjects there is none: an interval called 95 % of three or four would cover 70 to 80 % (``docs/results/intervals.json``);
summaries give the range instead. The
permutation test follows conditioned-DDPM (arXiv 2312.04215), which uses 10 000 permutations. Checked against analytic
cases and scipy.stats.permutation_test.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..core.errors import DataError
from ..core.seeding import derive_seed
from .segmentation import ConfusionCounts

Statistic = Callable[..., Any]
_VALUES_AT_ONCE = 4_000_000
MIN_SUBJECTS = 10
LEVEL = 0.95
_RESAMPLES = 2000


@dataclass(frozen=True)
class _Interval:
    """A statistic and its confidence interval from ``low`` to ``high``, of ``n`` subjects."""

    value: float
    low: float
    high: float
    n: int


def seed_of(names: Sequence[str]) -> int:
    """Return the seed of a set of subjects: the same subjects and values have the same interval in every table.

    >>> seed_of(["a", "b"]) == seed_of(["b", "a"]) != seed_of(["a", "c"])
    True
    """
    return derive_seed("subjects", *sorted(names)) % 2**32


def _interval(columns: Sequence[NDArray[Any]], statistic: Statistic, seed: int) -> _Interval:
    n = len(columns[0])
    if n < MIN_SUBJECTS:
        raise DataError(
            f"A confidence interval over subjects needs at least {MIN_SUBJECTS} of them, got {n}: of fewer it would cover "
            "much less than it says. Give the values or their range."
        )
    value = float(statistic(*columns, axis=-1))
    if all((column == column[0]).all() for column in columns):  # nothing to resample; BCa is undefined
        return _Interval(value, value, value, n)
    settings: dict[str, Any] = {"n_resamples": _RESAMPLES, "confidence_level": LEVEL, "vectorized": True, "axis": -1}
    settings |= {"paired": True, "batch": max(1, _VALUES_AT_ONCE // n), "random_state": np.random.default_rng(seed)}
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # both are answered below
        result = stats.bootstrap(tuple(columns), statistic, method="bca", **settings)
    low, high = map(float, result.confidence_interval)
    if not np.isfinite([low, high]).all():  # BCa of a statistic that hardly moves
        quantiles = np.nanquantile(result.bootstrap_distribution, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        low, high = map(float, quantiles)
    return _Interval(value, low, high, n)


def bootstrap_ci(values: Sequence[float], seed: int = 0) -> _Interval:
    """Return the mean of ``values`` and its confidence interval over subjects (one value each).

    Leave out the subjects whose metric is None; the same seed gives the same interval.
    """
    column = np.asarray(values, dtype=np.float64)
    if not np.isfinite(column).all():
        raise DataError("A bootstrap over subjects met NaN or infinite values; leave undefined cases out, count them.")
    return _interval([column], np.mean, seed)


def _pooled_dice(tp: NDArray[Any], fp: NDArray[Any], fn: NDArray[Any], axis: int) -> NDArray[Any]:
    hits, errors = 2 * tp.sum(axis=axis), fp.sum(axis=axis) + fn.sum(axis=axis)
    with np.errstate(invalid="ignore"):
        return np.asarray(hits / (hits + errors))


def pooled_dice_ci(counts: Sequence[ConfusionCounts], seed: int = 0) -> _Interval:
    """Return the pooled Dice (a ratio of sums over subjects) and its interval: whole subjects are resampled."""
    if not any(count.tp + count.fn for count in counts):
        raise DataError("The pooled Dice needs anomalous voxels, and no subject has any.")
    columns = [np.array([getattr(count, name) for count in counts], dtype=np.float64) for name in ("tp", "fp", "fn")]
    return _interval(columns, _pooled_dice, seed)


@dataclass(frozen=True)
class _PermutationResult:
    """Mean paired difference a - b, its two-sided p-value, pairs used and pairs left out, and whether p is exact."""

    difference: float
    p_value: float
    n: int
    excluded: int
    exact: bool


def paired_permutation_test(
    a: Sequence[float | None], b: Sequence[float | None], n_permutations: int = 10_000, seed: int = 0
) -> _PermutationResult:
    """Test whether two methods differ in the mean over the same subjects, by flipping signs of their differences.

    Every sign pattern is tried if there are at most ``n_permutations`` of them (2^n; 13 subjects for 10 000), else that
    many are drawn and p = (1 + as extreme) / (1 + drawn), which is never 0.

    Args:
        a: one value a subject, None where undefined.
        b: same subjects in the same order; a pair with a None is left out.
        n_permutations: sign patterns at most.
        seed: of the drawn patterns.
    """
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    n = len(pairs)
    if not n:
        raise DataError("A paired test needs subjects for which both methods have a value; there is none.")
    differences = np.array([x - y for x, y in pairs], dtype=np.float64)
    if not np.isfinite(differences).all():
        raise DataError("A paired test met NaN or infinite values; undefined metrics are None.")
    observed = abs(differences.sum()) * (1 - 1e-12) - 1e-300  # equal sums may differ in their last digits
    exact = n < 63 and 2**n <= n_permutations
    rng = np.random.default_rng(seed)
    total, extreme = (2**n if exact else n_permutations), 0
    chunk = max(1, _VALUES_AT_ONCE // n)
    for start in range(0, total, chunk):
        rows = min(chunk, total - start)
        if exact:
            flips = (np.arange(start, start + rows)[:, None] >> np.arange(n)) & 1
        else:
            flips = rng.integers(0, 2, size=(rows, n), dtype=np.int8)
        extreme += int((np.abs((1.0 - 2.0 * flips) @ differences) >= observed).sum())
    p_value = extreme / total if exact else (1 + extreme) / (1 + total)
    return _PermutationResult(float(differences.mean()), p_value, n, len(a) - n, exact)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected
