# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from custom.core.errors import DataError
from custom.metrics import ConfusionCounts, bootstrap_ci, paired_permutation_test, pooled_dice_ci


def test_interval_of_a_normal_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = bootstrap_ci(values)
    half = stats.norm.ppf(0.975) * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert found.n == 400


def test_the_seed_decides() -> None:
    values = [0.1, 0.5, 0.9, 0.3, 0.2, 0.4, 0.8, 0.05, 0.6, 0.55]
    assert bootstrap_ci(values, seed=3) == bootstrap_ci(values, seed=3)
    assert bootstrap_ci(values, seed=3) != bootstrap_ci(values, seed=4)


def test_values_that_do_not_vary_and_faults() -> None:
    found = bootstrap_ci([0.25] * 10)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)
    with pytest.raises(DataError, match="at least 10"):
        bootstrap_ci([0.5] * 9)
    with pytest.raises(DataError, match="NaN"):
        bootstrap_ci([0.5, np.nan])
    with pytest.raises(DataError, match="no subject"):
        pooled_dice_ci([ConfusionCounts(fp=3)] * 3)


def test_pooled_dice_resamples_whole_subjects() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 500, (25, 3)) * rng.integers(1, 20, (25, 1))
    counts = [ConfusionCounts(*map(int, row), tn=10**6) for row in table]
    found = pooled_dice_ci(counts)
    draws = table[np.random.default_rng(9).integers(0, 25, (4000, 25))].sum(axis=1)
    dice = 2 * draws[:, 0] / (2 * draws[:, 0] + draws[:, 1] + draws[:, 2])
    assert found.value == pytest.approx(sum(counts, ConfusionCounts()).dice)
    assert (found.low, found.high) == pytest.approx(np.quantile(dice, [0.025, 0.975]), abs=0.015)  # BCa is a little off


def test_pooled_dice_when_most_subjects_have_nothing() -> None:
    found = pooled_dice_ci([ConfusionCounts(tp=5, fp=1, fn=2)] + [ConfusionCounts()] * 9)
    assert np.isfinite([found.low, found.high]).all()
    assert found.low <= found.value <= found.high


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.integers(0, 2**31))
def test_exact_test_equals_scipy(a: list[float], seed: int) -> None:
    b = np.random.default_rng(seed).random(len(a))
    expected = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=np.inf,
    )  # fmt: skip
    found = paired_permutation_test(a, b.tolist())
    assert found.exact
    assert found.p_value == pytest.approx(expected.pvalue)


def test_analytic_p_values() -> None:
    assert paired_permutation_test(np.arange(1, 9).tolist(), [0] * 8).p_value == 2 / 2**8
    assert paired_permutation_test([0.3] * 6, [0.3] * 6).p_value == 1.0
    assert paired_permutation_test([1, 2, None, 4], [0, None, 0, 0]).p_value == 0.5
    assert paired_permutation_test([1, 2, None, 4], [0, None, 0, 0]).excluded == 2
    many = paired_permutation_test([1.0] * 200, [0.0] * 200, n_permutations=999)
    assert (many.p_value, many.exact) == (1 / 1000, False)


def test_drawn_patterns_agree_with_the_normal_limit() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.1, 1, 150), np.zeros(150)
    z = abs(a.sum()) / np.sqrt((a**2).sum())
    found = paired_permutation_test(a.tolist(), b.tolist(), seed=1)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(z), abs=0.02)
    assert found == paired_permutation_test(a.tolist(), b.tolist(), seed=1)
    assert found.difference == pytest.approx(a.mean())


def test_pairs_must_exist_and_match() -> None:
    with pytest.raises(DataError, match="there is none"):
        paired_permutation_test([None], [0.5])
    with pytest.raises(ValueError, match="zip"):
        paired_permutation_test([0.1, 0.2], [0.5])
    with pytest.raises(DataError, match="NaN"):
        paired_permutation_test([float("nan"), 1], [0.5, 0])
