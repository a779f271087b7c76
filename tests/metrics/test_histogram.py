# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from custom.core.errors import ConfigError, DataError
from custom.metrics import ConfusionCounts, ScoreHistogram, confusion_counts


def scans(seed: int, n: int, count: int = 1, scale: float = 1.0) -> tuple[list[NDArray], list[NDArray]]:
    """Skewed scores, half of them exact zeros as outside a brain mask, with 3 % higher-scoring lesion voxels."""
    rng = np.random.default_rng(seed)
    maps, truths = [], []
    for _ in range(count):
        truth = rng.random(n) < 0.03
        scores = rng.gamma(2.0, 0.05, n) + truth * rng.gamma(2.0, 0.06, n)
        scores[(rng.random(n) < 0.5) & ~truth] = 0
        maps.append((scale * scores).astype(np.float32))
        truths.append(truth)
    return maps, truths


def filled(maps: list[NDArray], truths: list[NDArray], mantissa_bits: int = 12) -> ScoreHistogram:
    histogram = ScoreHistogram(mantissa_bits)
    for scores, truth in zip(maps, truths, strict=True):
        histogram.update(scores, truth)
    return histogram


def same(a: ScoreHistogram, b: ScoreHistogram) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return all(np.array_equal(first[key], second[key]) for key in first)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1e-20, 1e-3, 1.0, 1e6]))
def test_average_precision_and_auroc_are_those_of_sklearn_at_any_scale(seed: int, scale: float) -> None:
    """Exactly those of the bins' numbers; those of the scores lie between the best and the worst order in each bin."""
    (scores,), (truth,) = scans(seed, 100_000, scale=scale)
    histogram = filled([scores], [truth])
    bins = histogram.bins_of(torch.from_numpy(scores)).numpy()
    for found, exact in (
        (histogram.average_precision(), average_precision_score),
        (histogram.auroc(), roc_auc_score),
    ):
        worst, best = (exact(truth, 2 * bins + first) for first in (~truth, truth))
        assert found == pytest.approx(exact(truth, bins), abs=1e-12)
        assert worst - 1e-12 <= exact(truth, scores) <= best + 1e-12
        assert worst - 1e-12 <= found <= best + 1e-12
        assert best - worst < 0.01


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 60))
def test_scores_with_bins_of_their_own_are_ranked_exactly(seed: int, n: int) -> None:
    """Whole numbers below 2^12 are told apart by 12 bits; ties and zeros included."""
    scores = np.random.default_rng(seed).integers(0, n, n).astype(np.float32)
    truth = np.arange(n) % 2 == 0
    histogram = filled([scores[None]], [truth[None]])
    assert histogram.average_precision() == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert histogram.auroc() == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**31), st.sampled_from([0.0, 1e-9, 1.0, 1e6])), min_size=1, max_size=5))
def test_merging_equals_one_pass_in_any_order(parts: list[tuple[int, float]]) -> None:
    pieces = [scans(seed, 200, scale=scale) for seed, scale in parts]
    maps, truths = [m for ms, _ in pieces for m in ms], [t for _, ts in pieces for t in ts]
    once = ScoreHistogram()
    once.update(np.concatenate(maps), np.concatenate(truths))
    single = [filled([m], [t]) for m, t in zip(maps, truths, strict=True)]
    forwards, backwards = ScoreHistogram(), ScoreHistogram()
    for part in single:
        forwards.merge(part)
    for part in reversed(single):
        backwards.merge(ScoreHistogram.from_state(part.state_dict()))
    assert same(once, forwards)
    assert same(once, backwards)
    assert same(once, filled(maps, truths))


def test_merging_leaves_the_other_alone_and_shares_no_memory() -> None:
    maps, truths = scans(1, 500, 2)
    a, b = filled(maps[:1], truths[:1]), filled(maps[1:], truths[1:])
    before = b.state_dict()
    total = ScoreHistogram().merge(b).merge(a)
    total.update(maps[0], truths[0])
    assert all(np.array_equal(before[key], b.state_dict()[key]) for key in before)


@settings(max_examples=50, deadline=None)
@given(st.floats(2.0**-120, 2.0**120, width=32), st.integers(0, 23))
def test_a_score_lies_in_its_bin_and_bins_are_narrow(score: float, bits: int) -> None:
    histogram = ScoreHistogram(bits)
    number = histogram.bins_of(torch.tensor([score])).numpy()
    (low, high) = histogram.edges(np.concatenate([number - 1, number]))
    assert low < score <= high
    assert high - low <= 2.0**-bits * high


def test_counts_at_every_edge_are_those_of_a_strict_comparison() -> None:
    maps, truths = scans(3, 3000, 2)
    histogram = filled(maps, truths, mantissa_bits=4)
    scores, truth = np.concatenate(maps), np.concatenate(truths)
    thresholds = histogram.thresholds()
    for threshold in thresholds:
        expected = confusion_counts(scores > threshold, truth)
        assert histogram.confusion_at(float(threshold)) == expected
    dice = [confusion_counts(scores > t, truth).dice for t in thresholds]
    threshold, best = histogram.best_dice()
    assert best == max(dice)
    assert threshold == max(t for t, d in zip(thresholds, dice, strict=True) if d == best)
    for beyond in (1e9, 1e39, np.inf):
        assert histogram.confusion_at(beyond).tp == 0


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 3, width=32))
def test_any_threshold_counts_as_the_upper_edge_of_its_bin(threshold: float) -> None:
    """Also those below the lowest and above the highest score, where there are no bins in memory."""
    scores, truth = np.array([0, 0.5, 0.75, 1.0, 1.5], np.float32), np.array([0, 1, 0, 1, 1])
    histogram = ScoreHistogram(2)
    histogram.update(scores, truth)
    edge = histogram.edges(histogram.bins_of(torch.tensor([threshold])).numpy())[0]
    assert threshold <= edge <= max(1.34 * threshold, 1e-37)
    assert histogram.confusion_at(threshold) == confusion_counts(scores > edge, truth)


def test_zeros_are_apart_from_the_smallest_number() -> None:
    tiny = np.float32(1e-45)
    histogram = ScoreHistogram(0)
    histogram.update(np.array([0, 0, -0.0, tiny], np.float32), np.array([0, 0, 1, 1]))
    assert histogram.confusion_at(0.0) == ConfusionCounts(tp=1, fp=0, fn=1, tn=2)


def test_precision_recall_curve_is_that_of_sklearn() -> None:
    (scores,), (truth,) = scans(5, 400)
    scores = np.ceil(1000 * scores)  # each value its own bin
    precision, recall, thresholds = filled([scores], [truth]).precision_recall_curve()
    expected = precision_recall_curve(truth, scores)
    np.testing.assert_allclose(precision, expected[0][:-1][::-1])
    np.testing.assert_allclose(recall, expected[1][:-1][::-1])
    assert thresholds[-1] == -np.inf
    for p, t in zip(precision, thresholds, strict=True):
        assert confusion_counts(scores > t, truth).precision == pytest.approx(p)


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.5, 0.999])
def test_quantile_holds_the_rate_and_the_next_lower_edge_does_not(fpr: float) -> None:
    maps, truths = scans(7, 5000)
    histogram = filled(maps, truths)
    normal = maps[0][~truths[0]]
    threshold = histogram.normal_quantile_threshold(fpr)
    assert (normal > threshold).mean() <= fpr
    lower = histogram.thresholds()[histogram.thresholds() < threshold]
    assert not lower.size or (normal > lower[-1]).mean() > fpr


def test_a_rate_that_is_met_exactly_is_allowed() -> None:
    histogram = ScoreHistogram()
    histogram.update(np.arange(1, 101, dtype=np.float32))
    assert histogram.normal_quantile_threshold(0.05) == 95
    assert histogram.normal_quantile_threshold(0.0499) == 96


def test_region_truth_and_kinds_of_arrays() -> None:
    (scores,), (truth,) = scans(9, 600)
    region = np.arange(600) % 3 == 0
    direct = filled([scores[region]], [truth[region]])
    shape = (10, 6, 10)
    by_region = ScoreHistogram()
    frozen = scores.reshape(shape)
    frozen.flags.writeable = False
    by_region.update(frozen, torch.from_numpy(truth.reshape(shape)), region.reshape(shape).astype(np.uint8))
    assert same(direct, by_region)
    healthy, no_truth = ScoreHistogram(), ScoreHistogram()
    healthy.update(scores)
    no_truth.update(torch.from_numpy(scores).double(), np.zeros(600))
    assert same(healthy, no_truth)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_way_of_the_host_is_that_of_a_gpu(dtype: torch.dtype) -> None:
    """On the host zeros are counted apart; a GPU bins them with all others, which the host can do too."""
    generator = torch.Generator().manual_seed(0)
    scores = (torch.rand(4, 5, 600, generator=generator) - 0.6).clamp(min=0).to(dtype)
    scores[0, 0, :3] = torch.tensor([-0.0, 1e-42, 1e-60], dtype=torch.float64).to(dtype)
    truth = torch.rand(scores.shape, generator=generator) > 0.8
    direct, own = ScoreHistogram(), ScoreHistogram()
    direct._count(scores, truth)
    own.update(scores, truth)
    assert same(direct, own)
    assert own.zeros.min() > 100


def test_empty_regions_count_nothing() -> None:
    histogram = ScoreHistogram()
    histogram.update(np.ones(4, np.float32), np.ones(4), np.zeros(4))
    assert (histogram.total_normal, histogram.total_anomalous) == (0, 0)


@pytest.mark.parametrize("bad", [-1e-30, float("nan"), float("inf"), -float("inf")])
def test_bad_scores_are_refused_and_counted(bad: float) -> None:
    histogram = ScoreHistogram()
    with pytest.raises(DataError, match=r"^1 score"):
        histogram.update(np.array([0.0, bad, 0.5], np.float32))
    assert histogram.total_normal == 0


def test_undefined_results_say_what_is_missing() -> None:
    healthy = ScoreHistogram()
    healthy.update(np.ones(3, np.float32))
    for result in (healthy.best_dice, healthy.average_precision, healthy.auroc):
        with pytest.raises(DataError, match="anomalous voxels"):
            result()
    with pytest.raises(DataError, match="normal voxels"):
        ScoreHistogram().normal_quantile_threshold(0.01)
    with pytest.raises(DataError, match="truth"):
        healthy.update(np.ones(3, np.float32), np.ones(4))
    with pytest.raises(ConfigError, match="resolution"):
        healthy.merge(ScoreHistogram(10))
    with pytest.raises(ConfigError, match="mantissa_bits=24"):
        ScoreHistogram(24)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_counting_on_the_gpu_equals_the_cpu() -> None:
    maps, truths = scans(11, 50_000, 2)
    on_gpu = ScoreHistogram()
    for scores, truth in zip(maps, truths, strict=True):
        on_gpu.update(torch.from_numpy(scores).cuda(), torch.from_numpy(truth))
    assert same(on_gpu, filled(maps, truths))
