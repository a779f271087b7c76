# SPDX-License-Identifier: Apache-2.0
"""The restoration bundle from training on two sources to a prediction, on a tiny cohort and with a tiny network."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from custom.core.errors import ConfigError
from custom.core.foreseen import find_foreseen
from custom.models.weights import load_weights
from custom.prediction.predictor import Predictor
from custom.release.freeze import freeze_bundle
from custom.release.pack import pack
from custom.runs.model_folder import ModelFolder

TRAINING = {
    "dataset_name": "demo", "contrast": "t1", "fold": 1, "max_epochs": 2, "batch_size": 4, "slices_per_volume": 2,
    "val_interval": 1, "val_slices_per_volume": 2, "channels": [8, 16, 16], "tracking_uri": None,
}  # fmt: skip
EVALUATION = {
    "test_sets": ["demo_tumour"], "test_limit": 1, "tuning_sets": {"demo_tumour": ""}, "healthy_test": None, "sigma_sweep": False,
    "tracking_uri": None, "promote": True,
}  # fmt: skip


def _run(config, workflow_type, stage, overrides):
    workflow = ConfigWorkflow(config_file=str(config), workflow_type=workflow_type, logging_file=False, **overrides)
    try:
        workflow.initialize()
        workflow.parser.get_parsed_content(stage)
    except (RuntimeError, ValueError) as error:
        raise find_foreseen(error) or error from None


@pytest.fixture(scope="module")
def evaluated(tiny_cohort, tmp_path_factory, repository):
    """A model trained on the cohort twice over, packed, evaluated and promoted."""
    work = tmp_path_factory.mktemp("restoration")
    configs = repository / "bundles/restoration/configs"
    data = {"dataset_dir": str(tiny_cohort), "cache_dir": str(work / "cache")}
    more = [{"data_root": str(tiny_cohort), "dataset": "demo"}]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        training = {**data, **TRAINING, "output_dir": str(work / "run"), "more_sources": more}
        _run(configs / "train.json", "train", "training", training)
        pack(work / "run", work / "packed")
        evaluation = {**data, **EVALUATION, "model_dir": str(work / "packed"), "output_dir": str(work / "evaluation")}
        _run(configs / "evaluate.json", "infer", "evaluating", evaluation)
    return work


def test_the_model_says_what_it_was_trained_with(evaluated):
    model = ModelFolder.read(evaluated / "packed")
    assert model.content["training"]["sources"] == ["demo", "demo"]
    assert model.build("severities") == [0.4, 0.6, 0.9]
    assert model.build("corruption").layers == 2
    network = load_weights(model.network(), model.weights, model.weights_sha256)
    assert (
        0.1 < float(network.healthy_mean[48, 48].mean()) < 1
    )  # the mean of the training scans is a part of the weights


def test_a_training_is_ended_early_as_its_message_says_and_not_prolonged(
    evaluated, tiny_cohort, tmp_path, repository, monkeypatch
):
    """``--max_epochs`` of what is done ends it: schedule and curriculum remain those of the planned training."""
    shutil.copytree(evaluated / "run", tmp_path / "run")
    before = (tmp_path / "run" / "model.json").read_bytes()
    monkeypatch.chdir(repository)
    data = {"dataset_dir": str(tiny_cohort), "cache_dir": str(evaluated / "cache"), "output_dir": str(tmp_path / "run")}
    options = {**data, **TRAINING, "more_sources": [{"data_root": str(tiny_cohort), "dataset": "demo"}]}
    config = repository / "bundles/restoration/configs/train.json"
    _run(config, "train", "training", {**options, "max_epochs": 1})
    assert (tmp_path / "run" / "model.json").read_bytes() == before
    with pytest.raises(ConfigError, match=r"max_epochs was 2 and is 1"):  # another training, not the end of this one
        _run(config, "train", "training", {**options, "max_epochs": 1, "resume": False})
    with pytest.raises(ConfigError, match=r"max_epochs was 2 and is 3"):
        _run(config, "train", "training", {**options, "max_epochs": 3})


def test_one_reconstruction_serves_every_score(evaluated):
    metrics = json.loads((evaluated / "evaluation" / "metrics.json").read_text())
    variants = metrics["datasets"]["demo_tumour"]["variants"]
    wanted = {
        "restoration_l1",
        "restoration_dark",
        "restoration_bright",
        "mask_probability",
        "mask_over_healthy",
        "l1_over_healthy",
        "restoration_l1_in_scan",
        "mahalanobis",
        "ssim_ens",
        "l1",
    }
    assert wanted <= set(variants)
    cases = [path for path in (evaluated / "evaluation" / "reconstructions").iterdir() if not path.name.startswith(".")]
    assert cases
    assert not list((evaluated / "packed").glob("reconstructions*"))


def test_thresholds_are_typical_ones_first(evaluated):
    calibration = ModelFolder.read(evaluated / "packed").calibration
    assert calibration["score"] == "restoration_l1"
    assert next(iter(calibration["thresholds"])) == "typical_fpr_0.001"
    assert "median over" in calibration["thresholds"]["typical_fpr_0.001"]["source"]


def test_a_scan_is_predicted(evaluated, tiny_cohort):
    scan = sorted((tiny_cohort / "Test/demo_tumour/t1").iterdir())[0]
    result = Predictor.load(evaluated / "packed").predict(scan)
    assert result.anomaly_map.shape == nib.load(scan).shape
    assert np.isfinite(result.anomaly_map).all()
    assert (result.anomaly_map >= 0).all()
    assert result.anomaly_map.max() > 0


def test_statistics_of_healthy_scans_travel_with_the_model(evaluated, tiny_cohort, tmp_path, repository, monkeypatch):
    """Evaluated, promoted, frozen: the statistics lie in model.json, and run folder and release give the same bits."""
    monkeypatch.chdir(repository)
    model = shutil.copytree(evaluated / "packed", tmp_path / "model")
    wanted = {"mask_over_healthy": "%custom/configs/restoration_scoring.json::mask_over_healthy"}
    settings = {
        **EVALUATION, "dataset_dir": str(tiny_cohort), "cache_dir": str(evaluated / "cache"), "model_dir": str(model),
        "output_dir": str(tmp_path / "evaluation"), "reconstruction_dir": str(evaluated / "evaluation" / "reconstructions"),
        "scores": wanted, "primary": "mask_over_healthy",
    }  # fmt: skip
    _run(repository / "bundles/restoration/configs/evaluate.json", "infer", "evaluating", settings)
    described = ModelFolder.read(model).calibration["scoring"]
    assert described["statistics"]["scans"] >= 2
    assert tuple(described["statistics"]["shape"]) == (96, 96, 50)
    assert (model / "model.json").stat().st_size < 600_000
    scan = sorted((tiny_cohort / "Test/demo_tumour/t1").iterdir())[0]
    plain = Predictor.load(model).predict(scan)
    frozen = Predictor.load(freeze_bundle(model, tmp_path / "release")).predict(scan)
    assert np.array_equal(plain.anomaly_map, frozen.anomaly_map)
    assert not np.array_equal(plain.anomaly_map, Predictor.load(evaluated / "packed").predict(scan).anomaly_map)


def test_a_source_with_patients_is_refused(tiny_cohort, tmp_path, repository, monkeypatch):
    monkeypatch.chdir(repository)
    more = [{"data_root": str(tiny_cohort), "dataset": "demo_tumour"}]
    training = {**TRAINING, "dataset_dir": str(tiny_cohort), "output_dir": str(tmp_path / "run"), "more_sources": more}
    with pytest.raises(ConfigError):
        _run(repository / "bundles/restoration/configs/train.json", "train", "training", training)
    assert not (tmp_path / "run" / "model.json").exists()
