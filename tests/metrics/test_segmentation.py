# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from custom.core.errors import DataError
from custom.metrics import ConfusionCounts, confusion_counts

pytestmark = [
    pytest.mark.fault(
        40,
        "empty ground truth",
        "no Dice, false-positive volume counted, numbers of both shown; warning of the gate",
        "foreseen",
    ),
    pytest.mark.fault(41, "empty prediction of a lesion", "Dice 0, precision not defined", "foreseen"),
]


def test_rates_are_those_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.random((8, 7, 6)) < 0.2, rng.random((8, 7, 6)) < 0.3
    counts = confusion_counts(torch.from_numpy(prediction), truth.astype(np.uint8))
    t, p = truth.ravel(), prediction.ravel()
    assert (counts.tn, counts.fp, counts.fn, counts.tp) == tuple(sk.confusion_matrix(t, p).ravel())
    assert counts.rates() == pytest.approx(
        {
            "dice": sk.f1_score(t, p), "precision": sk.precision_score(t, p), "recall": sk.recall_score(t, p),
            "fpr": 1 - sk.recall_score(~t, ~p), "fdr": 1 - sk.precision_score(t, p),
        }
    )  # fmt: skip


def test_the_false_positive_rate_is_not_the_false_discovery_rate() -> None:
    counts = ConfusionCounts(tp=1, fp=3, fn=0, tn=96)
    assert counts.fpr == pytest.approx(3 / 99)
    assert counts.fdr == pytest.approx(3 / 4)


def test_empty_truth_has_no_dice_but_a_false_positive_rate() -> None:
    found = confusion_counts(np.ones((2, 2, 2)), np.zeros((2, 2, 2)))
    assert found.rates() == {"dice": None, "precision": None, "recall": None, "fpr": 1, "fdr": None}
    assert found.fp == 8
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
    assert sum(cases, ConfusionCounts()) == confusion_counts(prediction, truth)


def test_interpolated_labels_and_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="interpolated"):
        confusion_counts(np.ones(3), np.array([0, 0.5, 1]))
    with pytest.raises(DataError, match="same grid"):
        confusion_counts(np.ones(3), np.ones(4))
