# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from custom.core.errors import ConfigError, DataError
from custom.metrics import false_positive_ml, healthy_summary, scan_auroc, scan_score


def test_volume_in_ml_inside_a_region() -> None:
    prediction = torch.zeros(10, 10, 10, dtype=torch.uint8)
    prediction[:5] = 1
    assert false_positive_ml(prediction, (2, 2, 2)) == pytest.approx(4.0)
    region = np.zeros((10, 10, 10))
    region[4:6] = 1
    assert false_positive_ml(prediction, (1, 1, 0.5), region) == pytest.approx(0.05)


def test_summary_of_known_volumes() -> None:
    found = healthy_summary([0, 0, 1, 3], min_ml=0.5)
    assert found == {
        "scans": 4, "false_positive_ml_mean": 1, "false_positive_ml_median": 0.5, "false_positive_ml_max": 3,
        "flagged_scans": 2, "flagged_rate": 0.5,
    }  # fmt: skip
    assert healthy_summary([0.5], min_ml=0.5)["flagged_rate"] == 0  # more than, not as much as
    with pytest.raises(DataError, match="none was given"):
        healthy_summary([])


def test_scan_score_looks_at_the_brain_only() -> None:
    scores, mask = np.array([9.0, 1.0, 2.0, 6.0]), np.array([0, 1, 1, 1])
    assert scan_score(scores, mask) == 3
    assert scan_score(scores, mask, quantile=0.5) == 2
    assert scan_score(scores, mask, quantile=1) == 6
    with pytest.raises(DataError, match="brain mask is empty"):
        scan_score(scores, np.zeros(4))
    with pytest.raises(ConfigError, match="quantile"):
        scan_score(scores, mask, quantile=99)


def test_a_scanner_difference_is_visible_by_site() -> None:
    """Scores that depend on the site alone: a perfect AUROC over all, chance within the site that has both."""
    rng = np.random.default_rng(0)
    sites = np.array(["a"] * 200 + ["b"] * 200)
    labels = np.array([0] * 200 + [1] * 190 + [0] * 10)
    scores = rng.random(400) + 2 * (sites == "b")
    found = scan_auroc(scores, labels, sites)
    assert found["all"] == pytest.approx(roc_auc_score(labels, scores))
    assert found["all"] > 0.95
    assert found["a"] is None
    assert found["b"] == pytest.approx(roc_auc_score(labels[200:], scores[200:]))
    assert scan_auroc(scores, labels) == {"all": found["all"]}
