# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from custom.core.errors import DataError
from custom.metrics import case_ranking, ranking_metrics


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 60), st.booleans())
def test_both_metrics_are_those_of_sklearn_with_ties_zeros_and_negative_scores(
    seed: int, n: int, negative: bool
) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, 6, n) - 2 * negative).astype(np.float32)
    truth = rng.random(n) < 0.4
    truth[:2] = True, False
    found = ranking_metrics(scores, truth)
    assert found["average_precision"] == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


def test_whole_volume_and_brain() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((12, 11, 10)) < 0.4
    truth = mask & (rng.random(mask.shape) < 0.1)
    scores = mask * (rng.random(mask.shape) + 0.3 * truth)
    found = case_ranking(torch.from_numpy(scores), torch.from_numpy(truth), mask.astype(np.uint8))
    assert found["average_precision"] == pytest.approx(average_precision_score(truth.ravel(), scores.ravel()))
    assert found["auroc"] == pytest.approx(roc_auc_score(truth.ravel(), scores.ravel()))
    assert found["average_precision_brain"] == pytest.approx(average_precision_score(truth[mask], scores[mask]))
    assert found["auroc_brain"] == pytest.approx(roc_auc_score(truth[mask], scores[mask]))
    assert found["auroc_brain"] < found["auroc"]


def test_one_class_alone_is_undefined() -> None:
    assert ranking_metrics(np.ones(3), np.zeros(3)) == {"average_precision": None, "auroc": None}
    assert ranking_metrics(np.ones(3), np.ones(3)) == {"average_precision": 1.0, "auroc": None}


def test_nan_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 value\(s\)"):
        ranking_metrics(np.array([0.1, np.nan]), np.array([0, 1]))
