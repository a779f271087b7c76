# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from custom.core.errors import DataError
from custom.metrics import healthy_summary, scan_auroc, scan_score


def test_summary_of_known_volumes() -> None:
    found = healthy_summary([0, 0, 1, 3])
    assert found == {
        "scans": 4, "false_positive_ml_mean": 1, "false_positive_ml_median": 0.5, "false_positive_ml_max": 3,
        "flagged_scans": 2, "flagged_rate": 0.5,
    }  # fmt: skip
    with pytest.raises(DataError, match="none was given"):
        healthy_summary([])


def test_scan_score_looks_at_the_brain_only() -> None:
    scores, mask = np.array([9.0, 1.0, 2.0, 6.0]), np.array([0, 1, 1, 1])
    assert scan_score(scores, mask) == 3
    with pytest.raises(DataError, match="brain mask is empty"):
        scan_score(scores, np.zeros(4))


def test_scan_level_auroc_is_that_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    scores = rng.random(400) + 0.3 * labels
    assert scan_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    assert scan_auroc([1.0, 2.0], [1, 1]) is None
    assert scan_auroc([], []) is None
