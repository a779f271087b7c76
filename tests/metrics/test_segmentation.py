# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from custom.core.errors import DataError
from custom.metrics import ConfusionCounts, confusion_counts, segmentation_metrics

pytestmark = [
    pytest.mark.fault(
        40,
        "empty ground truth",
        "no Dice, false-positive volume counted, numbers of both shown; warning of the gate",
        "foreseen",
    ),
    pytest.mark.fault(41, "empty prediction of a lesion", "Dice 0, precision not defined", "foreseen"),
]


@pytest.mark.parametrize("with_region", [False, True])
def test_rates_are_those_of_sklearn(with_region: bool) -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.random((8, 7, 6)) < 0.2, rng.random((8, 7, 6)) < 0.3
    region = rng.random(truth.shape) < 0.5 if with_region else None
    counts = confusion_counts(torch.from_numpy(prediction), truth.astype(np.uint8), region)
    t, p = (truth, prediction) if region is None else (truth[region], prediction[region])
    t, p = t.ravel(), p.ravel()
    assert (counts.tn, counts.fp, counts.fn, counts.tp) == tuple(sk.confusion_matrix(t, p).ravel())
    expected = {
        "dice": sk.f1_score(t, p), "precision": sk.precision_score(t, p), "recall": sk.recall_score(t, p),
        "specificity": sk.recall_score(~t, ~p), "accuracy": sk.accuracy_score(t, p),
        "fpr": 1 - sk.recall_score(~t, ~p), "fdr": 1 - sk.precision_score(t, p),
    }  # fmt: skip
    found = segmentation_metrics(counts, (2.0, 2.0, 2.0))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
    assert found["fp_ml"] == pytest.approx(0.008 * counts.fp)
    assert found["truth_ml"] == pytest.approx(0.008 * t.sum())
    assert found["predicted_ml"] == pytest.approx(0.008 * p.sum())


def test_the_false_positive_rate_is_not_the_false_discovery_rate() -> None:
    counts = ConfusionCounts(tp=1, fp=3, fn=0, tn=96)
    assert counts.fpr == pytest.approx(3 / 99)
    assert counts.fdr == pytest.approx(3 / 4)


def test_empty_truth_has_no_dice_but_false_positive_volume() -> None:
    found = segmentation_metrics(confusion_counts(np.ones((2, 2, 2)), np.zeros((2, 2, 2))), (1, 1, 5))
    assert [found[name] for name in ("dice", "precision", "recall", "fdr")] == [None] * 4
    assert found["fpr"] == 1
    assert found["fp_ml"] == pytest.approx(0.04)
    assert found["empty_truth"] == 1
    nothing = confusion_counts(np.zeros(3), np.zeros(3))
    assert nothing.dice is None
    assert nothing.fpr == 0


def test_empty_prediction_of_a_lesion_has_dice_0_and_no_precision() -> None:
    counts = confusion_counts(np.zeros(5), np.ones(5))
    assert (counts.dice, counts.recall, counts.precision, counts.fdr, counts.fpr) == (0, 0, None, None, None)


def test_pooled_counts_are_those_of_one_volume() -> None:
    rng = np.random.default_rng(1)
    truth, prediction = rng.random((3, 50)) < 0.3, rng.random((3, 50)) < 0.3
    cases = [confusion_counts(p, t) for p, t in zip(prediction, truth, strict=True)]
    assert ConfusionCounts.pooled(cases) == confusion_counts(prediction, truth)
    assert sum(cases, ConfusionCounts()) == ConfusionCounts.pooled(iter(cases))


def test_interpolated_labels_and_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="interpolated"):
        confusion_counts(np.ones(3), np.array([0, 0.5, 1]))
    with pytest.raises(DataError, match="same grid"):
        confusion_counts(np.ones(3), np.ones(4))
    with pytest.raises(DataError, match="region"):
        confusion_counts(np.ones(3), np.ones(3), np.ones(1))
