# SPDX-License-Identifier: Apache-2.0
"""Thresholds by name, by rate and by hand; percentiles by interpolation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from custom.core.errors import ConfigError
from custom.prediction.calibration import Calibration

CONTENT: dict[str, Any] = {
    "contrast": "t1",
    "score": "l1",
    "thresholds": {"healthy_fpr_0.01": 0.4, "healthy_fpr_0.05": 0.3, "tuned": {"mslub": 0.35}},
    "healthy_quantiles": {"levels": [0.0, 0.5, 0.9, 0.99, 1.0], "scores": [0.0, 0.1, 0.2, 0.4, 0.8]},
}


def load(folder: Path, score: str | None = None, **changes: Any) -> Calibration:
    (folder / "calibration.json").write_text(json.dumps(CONTENT | changes), encoding="utf-8")
    return Calibration.load(folder, score)


@pytest.mark.parametrize(
    ("sensitivity", "threshold", "value"),
    [
        (None, None, 0.4),
        ("", 0.0, 0.4),
        ("healthy_fpr_0.05", None, 0.3),
        ("0.05", None, 0.3),
        (0.1, None, 0.2),
        ("tuned/mslub", None, 0.35),
        (["healthy_fpr_0.05", "tuned/mslub"], 0, 0.3),
        ("healthy_fpr_0.05", 0.77, 0.77),
        (None, "0.6", 0.6),
    ],
)
def test_threshold(tmp_path, sensitivity, threshold, value) -> None:
    assert load(tmp_path).threshold(sensitivity, threshold).value == pytest.approx(value)


def test_sources_differ(tmp_path) -> None:
    calibration = load(tmp_path)
    assert "1 % of the voxels" in calibration.threshold().source
    assert "user" in calibration.threshold(threshold=1).source
    assert "mslub" in calibration.threshold("tuned/mslub").source


def test_unknown_name_lists_the_known(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"healthy_fpr_0\.01, healthy_fpr_0\.05, tuned/mslub"):
        load(tmp_path).threshold("high")


def test_percentiles(tmp_path) -> None:
    found = load(tmp_path).percentile_of(np.array([0.0, 0.05, 0.2, 0.3, 2.0]))
    assert found == pytest.approx([0, 25, 90, 94.5, 100])


def test_percentile_of_a_tie_is_the_upper_end(tmp_path) -> None:
    """Most healthy voxels have score 0 after masking: a score of 0 is then as common as all of them."""
    quantiles = {"levels": [0.0, 0.5, 0.8, 1.0], "scores": [0.0, 0.0, 0.0, 1.0]}
    assert load(tmp_path, healthy_quantiles=quantiles).percentile_of(np.array([0.0]))[0] == pytest.approx(80)


def test_other_score_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="belong to the score l1, not to ssim_ens"):
        load(tmp_path, score="ssim_ens")


def test_contrast_from_the_settings(tmp_path) -> None:
    (tmp_path / "settings.json").write_text('{"contrast": "t2"}')
    assert load(tmp_path, contrast=None).contrast == "t2"


def test_missing_and_damaged(tmp_path) -> None:
    with pytest.raises(ConfigError, match="Run the evaluation"):
        Calibration.load(tmp_path)
    (tmp_path / "calibration.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        Calibration.load(tmp_path)
