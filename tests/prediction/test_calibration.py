# SPDX-License-Identifier: Apache-2.0
"""Thresholds by name, by rate and by hand; percentiles by interpolation."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from custom.core.description import describe
from custom.core.errors import ConfigError
from custom.models.weights import save_weights
from custom.postprocessing import in_mm, none
from custom.prediction.calibration import Calibration
from custom.preparation.prepare import preparation
from custom.runs.model_folder import ModelFolder
from custom.runs.record import RunRecord
from custom.scoring import l1

QUANTILES = {"levels": [0.5, 0.9, 0.99, 0.999], "scores": [0.1, 0.2, 0.4, 0.8]}
CONTENT: dict[str, Any] = {
    "score": "l1",
    "scoring": describe(l1),
    "postprocessing": describe(in_mm()),
    "spacing_mm": [2.0, 2.0, 2.0],
    "thresholds": {
        "healthy_fpr_0.01": {"value": 0.4, "source": "1 % of the voxels lie above"},
        "healthy_fpr_0.05": {"value": 0.3, "source": "5 % of the voxels lie above"},
        "tuned/mslub": {"value": 0.35, "source": "best Dice on mslub"},
    },
    "healthy_quantiles": QUANTILES,
    "trial": None,
}


def load(folder: Path, score: str | None = None, notes: dict[str, str] | None = None, **changes: Any) -> Calibration:
    network = functools.partial(torch.nn.Linear, in_features=1, out_features=1)
    model = ModelFolder.define(
        folder, bundle="ae_baseline", method="ae", contrast="t1", dataset="ixi", fold=0, seed=1,
        parts={"network": network, "preparation": preparation("standard")},
    )  # fmt: skip
    save_weights(model.network(), folder / "model.safetensors", notes or {})
    model = model.seal()
    return Calibration.of(model.promote({**CONTENT, "weights_sha256": model.weights_sha256, **changes}), score)


@pytest.mark.parametrize(
    ("sensitivity", "threshold", "value"),
    [
        (None, None, 0.4),
        ("", None, 0.4),
        ("null", "", 0.4),
        ("healthy_fpr_0.05", None, 0.3),
        ("0.05", None, 0.3),
        (0.1, None, 0.2),
        (0.5, None, 0.1),
        (0.001, None, 0.8),
        ("1e-3", None, 0.8),
        ("tuned/mslub", None, 0.35),
        (["healthy_fpr_0.05", "tuned/mslub"], None, 0.3),
        ("healthy_fpr_0.05", 0.77, 0.77),
        (None, "0.6", 0.6),
        (None, 0, 0.0),
    ],
)
def test_threshold(tmp_path, sensitivity, threshold, value) -> None:
    assert load(tmp_path).threshold(sensitivity, threshold).value == pytest.approx(value)


@pytest.mark.parametrize("threshold", [-1, "-0.1", float("nan"), "nan", float("inf"), "high"])
def test_no_score_is_refused(tmp_path, threshold) -> None:
    with pytest.raises(ConfigError, match="not an anomaly score"):
        load(tmp_path).threshold(threshold=threshold)


@pytest.mark.parametrize("rate", [0.6, 0.0009, 0.00001, 1.5, -0.1, 0])
def test_a_rate_that_was_not_measured_is_refused(tmp_path, rate) -> None:
    with pytest.raises(ConfigError, match=r"not measured: .* 0\.001 to 0\.5"):
        load(tmp_path).threshold(rate)


def test_sources_say_what_is_true(tmp_path) -> None:
    calibration = load(tmp_path)
    assert calibration.threshold().source == "1 % of the voxels lie above"
    assert "user" in calibration.threshold(threshold=1).source
    assert "mslub" in calibration.threshold("tuned/mslub").source
    assert "about 10 %" in calibration.threshold(0.1).source
    tied = load(tmp_path, healthy_quantiles={"levels": [0.5, 0.8, 0.999], "scores": [0.0, 0.0, 1.0]})
    assert "about 20 %" in tied.threshold(0.4).source  # 80 % of the voxels are 0: a score above 0 is exceeded by 20 %


def test_unknown_name_lists_the_known(tmp_path) -> None:
    for name in ("high", "$open('PWNED','w')", "@model", "nan"):
        with pytest.raises(ConfigError, match=r"healthy_fpr_0\.01, healthy_fpr_0\.05, tuned/mslub"):
            load(tmp_path).threshold(name)


def test_percentiles(tmp_path) -> None:
    quantiles = {"levels": [0.0, 0.5, 0.9, 0.99, 1.0], "scores": [0.0, 0.1, 0.2, 0.4, 0.8]}
    found = load(tmp_path, healthy_quantiles=quantiles).percentile_of(np.array([0.0, 0.05, 0.2, 0.3, 2.0]))
    assert found == pytest.approx([0, 25, 90, 94.5, 100])


def test_percentile_of_a_tie_is_the_upper_end(tmp_path) -> None:
    """Most healthy voxels have score 0 after masking: a score of 0 is then as common as all of them."""
    quantiles = {"levels": [0.0, 0.5, 0.8, 1.0], "scores": [0.0, 0.0, 0.0, 1.0]}
    assert load(tmp_path, healthy_quantiles=quantiles).percentile_of(np.array([0.0]))[0] == pytest.approx(80)


def test_other_score_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="belong to the score l1, not to ssim_ens"):
        load(tmp_path, score="ssim_ens")
    assert load(tmp_path, score="l1").scoring is l1


def test_post_processing_and_contrast_are_those_of_the_model(tmp_path) -> None:
    assert load(tmp_path, postprocessing=describe(none())).postprocessing == none()
    assert load(tmp_path).contrast == "t1"


def test_another_grid_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"grid of \[1.0, 1.0, 1.0\] mm, its preparation gives \[2.0, 2.0, 2.0\]"):
        load(tmp_path, spacing_mm=[1.0, 1.0, 1.0])


def test_a_model_without_calibration_says_how_to_get_one(tmp_path) -> None:
    load(tmp_path)
    save_weights(torch.nn.Linear(1, 1), tmp_path / "model.safetensors", {})
    with pytest.raises(ConfigError, match=r"no calibration.*--promote True"):
        Calibration.of(ModelFolder.read(tmp_path).seal())


def test_how_long_and_how_well_the_model_learnt(tmp_path):
    assert (load(tmp_path / "a").iterations, load(tmp_path / "b").healthy_error) == (None, None)
    calibration = load(tmp_path / "c", notes={"iteration": "720"}, healthy_error=0.05)
    assert (calibration.iterations, calibration.healthy_error) == (720, 0.05)


def test_the_minutes_of_a_training_stand_in_its_run_folder(tmp_path):
    assert load(tmp_path).training_seconds is None
    record = RunRecord(tmp_path, {})
    record.begin()
    record.training_seconds = 246.04
    record.end("finished")
    assert load(tmp_path).training_seconds == 246.0
    (tmp_path / "run.json").write_text("{", encoding="utf-8")
    assert load(tmp_path).training_seconds is None  # a damaged record costs no prediction


def test_a_threshold_that_marks_much_of_healthy_brains_says_so_wherever_it_is_used(tmp_path):
    thresholds = {
        "typical_fpr_0.01": {"value": 0.4, "source": "1 % of the voxels lie above"},
        "tuned/mslub": {"value": 0.12, "source": "best Dice on mslub"},
    }
    calibration = load(tmp_path / "run", thresholds=thresholds)
    assert calibration.threshold().source == "1 % of the voxels lie above"
    said = "indiscriminate: it marks 42% of healthy brains"
    assert calibration.threshold("tuned/mslub").source.startswith(f"best Dice on mslub; {said}")
    assert "marks at least 50% of healthy brains" in calibration.threshold(threshold=0.05).source
    assert calibration.names == list(thresholds)
    assert calibration.offered == ["typical_fpr_0.01"]
    assert load(tmp_path / "none", thresholds={"a": thresholds["tuned/mslub"]}).offered == ["a"]
