# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from custom.core.errors import ConfigError, DataError
from custom.metrics import (
    ScoreHistogram,
    best_dice_threshold,
    conformal_case_threshold,
    confusion_counts,
    healthy_quantile_threshold,
    interval_search,
)

pytestmark = [
    pytest.mark.fault(
        38,
        "no lesion where a threshold is to be tuned",
        "the evaluation has no `tuned` threshold for that set and reports the label-free ones; the search itself refuses and proposes the healthy quantile",
        "foreseen",
    ),
    pytest.mark.fault(39),
]


def exhaustive(scores: NDArray, truth: NDArray) -> float:
    """Best Dice over every threshold >= 0 that makes a difference."""
    dice = [confusion_counts(scores > t, truth).dice for t in np.unique(np.append(scores, 0))]
    return max(d for d in dice if d is not None)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 80), st.sampled_from([1e-4, 1e-3, 1.0]))
def test_exact_search_equals_trying_every_value(seed: int, n: int, spread: float) -> None:
    """A small spread puts many scores into one bin, where the sorting decides."""
    rng = np.random.default_rng(seed)
    scores = (1 + spread * rng.choice(rng.random(n), (3, n))).astype(np.float32) * (rng.random((3, n)) < 0.7)
    truth = rng.random((3, n)) < 0.1 + 0.8 * (scores > 1 + 0.7 * spread)
    truth[0, 0] = True
    threshold, dice = best_dice_threshold(list(scores), list(truth))
    assert dice == exhaustive(scores, truth)
    assert threshold >= 0
    assert confusion_counts(scores > threshold, truth).dice == dice


def test_the_histogram_alone_would_have_missed_it() -> None:
    scores = np.float32(1) + np.arange(64, dtype=np.float32) * np.float32(2**-20)  # one bin of 2^-11 holds 1...63
    truth = np.arange(64) >= 40
    histogram = ScoreHistogram()
    histogram.update(scores, truth)
    assert histogram.best_dice()[1] < 0.6
    threshold, dice = best_dice_threshold([scores], [truth], histogram=histogram)
    assert dice == 1.0
    assert scores[39] <= threshold < scores[40]


def test_arrays_and_tensors_agree() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((2, 6, 5, 4)).astype(np.float32)
    truth = scores + rng.normal(0, 0.2, scores.shape) > 0.8
    expected = exhaustive(scores, truth)
    assert best_dice_threshold(list(scores), list(truth))[1] == expected
    assert best_dice_threshold(torch.from_numpy(scores), list(truth))[1] == expected
    assert interval_search(list(scores), list(truth))[1] <= expected


def test_generators_and_foreign_histograms_are_noticed() -> None:
    scores = np.float32(1) + np.arange(64, dtype=np.float32) * np.float32(2**-20)
    truth = np.arange(64) >= 40
    with pytest.raises(DataError, match="gone through only once"):
        best_dice_threshold((part for part in [scores]), (part for part in [truth]))
    histogram = ScoreHistogram()
    histogram.update(np.tile(scores, 2), np.tile(truth, 2))
    with pytest.raises(DataError, match="other voxels"):
        best_dice_threshold([scores], [truth], histogram=histogram)
    with pytest.raises(ValueError, match="zip"):
        best_dice_threshold([scores, scores], [truth])


@pytest.mark.parametrize("search", [best_dice_threshold, interval_search])
def test_searches_without_lesions_name_the_remedy(search: Callable[..., object]) -> None:
    with pytest.raises(DataError, match="healthy"):
        search([np.ones(4, np.float32)], [np.zeros(4)])


def test_interval_search_finds_the_optimum_of_one_hump() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(4000) < 200
    scores = (0.2 + 0.05 * rng.standard_normal(4000) + 0.3 * truth).clip(0).astype(np.float32)
    _, dice = interval_search([scores], [truth])
    assert dice == pytest.approx(exhaustive(scores, truth), abs=0.01)


def test_interval_search_misses_the_higher_of_two_humps() -> None:
    """Dice over threshold: 0.647 below 0.3, 0.623 up to 0.52, 0.905 up to 0.55, then 0.

    The first probes see 0.647 (at 0.25) and 0 (at 0.75), so [0, 0.5] is kept and the hump above 0.52 is out of reach.
    """
    groups = [(0.3, 20, True), (0.3, 30, False), (0.52, 100, False), (0.55, 100, True), (1.0, 1, False)]
    scores = np.concatenate([np.full(n, value, np.float32) for value, n, _ in groups])
    truth = np.concatenate([np.full(n, lesion) for _, n, lesion in groups])
    threshold, dice = interval_search([scores], [truth])
    assert threshold < 0.3
    assert dice == pytest.approx(2 * 120 / (120 + 251))
    threshold, dice = best_dice_threshold([scores], [truth])
    assert np.float32(0.52) <= threshold < np.float32(0.55)
    assert dice == pytest.approx(2 * 100 / (120 + 101))


def test_interval_search_follows_the_published_steps() -> None:
    """One lesion voxel at 0.9, normal ones at 0.2 and 1.0: probes 0.25, 0.75, then 0.125, 0.375 (ties go down)."""
    scores, truth = np.array([0.9, 0.2, 1.0]), np.array([1, 0, 0])
    assert interval_search([scores], [truth], steps=1) == (0.25, pytest.approx(2 / 3))  # the lower of equal probes
    assert interval_search([scores], [truth], steps=2) == (0.375, pytest.approx(2 / 3))
    assert interval_search([scores], [truth], steps=3) == (0.3125, pytest.approx(2 / 3))


def test_interval_search_breaks_ties_as_the_released_code() -> None:
    """Ten steps of the released search on these numbers end at 0.250488 (both probes at the upper of equal probes: .251465)."""
    scores, truth = np.array([0, 0, 0.1, 0.2, 0.9, 1]), np.array([0, 0, 0, 0, 1, 1])
    threshold, dice = interval_search([scores], [truth])
    assert (threshold, dice) == (pytest.approx(0.25 + 2**-11, abs=1e-12), 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 10, width=32), min_size=1, max_size=60), st.floats(0.001, 0.999))
def test_healthy_quantile_is_the_lowest_value_that_holds_the_rate(values: list[float], fpr: float) -> None:
    scores = np.array(values, np.float32)
    threshold = healthy_quantile_threshold(scores, fpr)
    assert (scores > threshold).sum() <= fpr * scores.size * (1 + 1e-9)
    lower = scores[scores < threshold]
    assert not lower.size or (scores > lower.max()).sum() > fpr * scores.size * (1 - 1e-9)
    histogram = ScoreHistogram()
    histogram.update(scores)
    assert threshold <= histogram.normal_quantile_threshold(fpr) <= max(threshold * (1 + 2**-10), 1e-37)


def test_healthy_quantile_on_known_numbers_and_wrong_rates() -> None:
    assert healthy_quantile_threshold(np.arange(1, 101), 0.05) == 95
    assert healthy_quantile_threshold(torch.arange(1, 101).view(10, 10), 0.01) == 99
    with pytest.raises(ConfigError, match=r"0\.01 = 1 %"):
        healthy_quantile_threshold(np.ones(3), 5)
    with pytest.raises(DataError, match="brain masks"):
        healthy_quantile_threshold(np.ones(0), 0.01)


def test_conformal_threshold_holds_its_promise_for_few_scans() -> None:
    rng = np.random.default_rng(0)
    scans, new = rng.gamma(2, 1, (4000, 19)), rng.gamma(2, 1, 4000)
    exceeded = [value > conformal_case_threshold(row, 0.1) for row, value in zip(scans, new, strict=True)]
    assert np.mean(exceeded) == pytest.approx(0.1, abs=0.015)  # (n + 1)(1 - rate) = 18 exactly: the bound is sharp
    assert conformal_case_threshold(list(range(19)), 0.05) == 18


def test_conformal_threshold_says_what_too_few_scans_can_promise() -> None:
    with pytest.raises(DataError, match=r"18 healthy scan.* 0\.0526 at best.*at least 19 scans"):
        conformal_case_threshold(list(range(18)), 0.05)
