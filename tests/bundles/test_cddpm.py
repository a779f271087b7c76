# SPDX-License-Identifier: Apache-2.0
"""Conditioned diffusion on a tiny cohort: pre-train, take the encoder over, train, evaluate, predict; what cannot go together."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from safetensors.torch import load_file

from custom.benchmark.results import read_result
from custom.benchmark.tables import Comparison
from custom.benchmark.views import reconstruction_table
from custom.core.errors import ConfigError, UADError
from custom.core.foreseen import find_foreseen
from custom.prediction.predictor import Predictor
from custom.release.freeze import freeze_bundle
from custom.runs.model_folder import ModelFolder

CONFIGS = Path("bundles/cddpm/configs")
ENCODER = {"encoder_block": "basic", "encoder_layers": [1, 1, 1, 1], "encoder_widths": [16, 16, 16, 16]}
SHORT = {"max_epochs": 2, "batch_size": 2, "val_interval": 1, "val_slices_per_volume": 1, "checkpoint_interval": 1,
         "tracking_uri": None, "dataset_name": "demo", "contrast": "t1", "fold": 1}  # fmt: skip
PRETRAINING = {**SHORT, **ENCODER, "decoder_width": 32}
TRAINING = {**SHORT, **ENCODER, "channels": [32, 32, 32], "num_res_blocks": 1, "num_head_channels": 32, "resblock_updown": False,
            "condition_dim": 8, "lr": 1e-2, "ema_decay": 0.0, "val_timesteps": [500], "noise": "%custom/configs/noise.json::gaussian"}  # fmt: skip
SCORES = {"l1": "%custom/configs/scoring.json::l1"}
EVALUATION = {"test_sets": ["demo_tumour"], "test_limit": 1, "test_timesteps": [250, 750], "draws": 1, "promote": True, "sigma_sweep": False, "tracking_uri": None, "healthy_test": False,
              "scores": SCORES, "primary": "l1"}  # fmt: skip


@pytest.fixture(autouse=True)
def _at_the_root(repository, monkeypatch):
    monkeypatch.chdir(repository)


def _workflow(files, kind, **overrides):
    return ConfigWorkflow(
        config_file=[str(CONFIGS / file) for file in files], workflow_type=kind, logging_file=False, **overrides
    )


@pytest.fixture(scope="module")
def run(tiny_cohort, tmp_path_factory, repository):
    """Run a training to its end; returns its folder. Foreseen errors are raised as they are."""
    cache = tmp_path_factory.mktemp("cache")

    def training(files, settings, folder=None, prepare=None, **overrides):
        folder = folder or tmp_path_factory.mktemp("run")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(repository)
            places = {"dataset_dir": str(tiny_cohort), "cache_dir": str(cache), "output_dir": str(folder)}
            workflow = _workflow(files, "train", **{**places, **settings, **overrides})
            try:
                workflow.initialize()
                if prepare is not None:
                    prepare(workflow.parser)
                workflow.run()
            except Exception as error:
                raise find_foreseen(error) or error from None
        return folder

    training.cache = cache
    return training


@pytest.fixture(scope="module")
def pretrained(run):
    return run(["spark_pretraining.json"], PRETRAINING)


@pytest.fixture(scope="module")
def trained(run, pretrained):
    return run(["train.json"], TRAINING, encoder_dir=str(pretrained))


def _weights(folder):
    return load_file(folder / "model.safetensors")


def test_pretraining_leaves_a_model_that_describes_itself(pretrained):
    model = ModelFolder.read(pretrained, bundle="cddpm")
    assert model.method == "spark"
    assert model.content["parts"]["cell_mask"] == {
        "_target_": "custom.models.cell_mask.CellMask", "mask_ratio": 0.65, "cell_px": 32, "cells": "brain", "least_brain": 0.05,
    }  # fmt: skip
    best = json.loads((pretrained / "checkpoints" / "best.json").read_text())
    assert best["metric"] == "masked"
    assert 0 < best["value"] < 10


class _Killed(UADError):
    pass


def test_killed_pretraining_ends_with_the_same_bits(run, pretrained, tmp_path):
    run(["spark_pretraining.json"], PRETRAINING, tmp_path / "run", max_epochs=1)

    def kill_in_second_epoch(parser):
        loss = parser.get_parsed_content("loss")

        def hook(module, inputs):
            raise _Killed

        loss.register_forward_pre_hook(hook)

    with pytest.raises(_Killed):
        run(["spark_pretraining.json"], PRETRAINING, tmp_path / "run", prepare=kill_in_second_epoch)
    run(["spark_pretraining.json"], PRETRAINING, tmp_path / "run")
    undisturbed, resumed = _weights(pretrained), _weights(tmp_path / "run")
    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in undisturbed.items())


def test_encoder_is_taken_over_and_noted(run, pretrained, trained, tmp_path):
    origin = ModelFolder.read(trained, bundle="cddpm").content["parts"]["pretraining"]
    assert origin["method"] == "spark"
    assert origin["weights_sha256"] == ModelFolder.read(pretrained).weights_sha256
    frozen = run(
        ["train.json"], TRAINING, tmp_path / "frozen", encoder_dir=str(pretrained), encoder_training="frozen_backbone"
    )
    encoder, found = _weights(pretrained), _weights(frozen)
    names = [name for name in encoder if name.startswith("encoder.")]
    assert len(names) > 20
    assert all(torch.equal(encoder[name], found[name]) for name in names)
    moved = _weights(trained)
    assert not torch.equal(encoder["encoder.conv1.weight"], moved["encoder.conv1.weight"])


@pytest.mark.parametrize(
    ("overlays", "metrics"),
    [
        (["contrastive.json"], {"masked", "contrast", "spread"}),
        (["contrastive.json", "contrastive_published.json"], {"masked", "contrast", "spread"}),
        (["contrastive.json", "contrastive_alone.json"], {"contrast", "spread"}),
    ],
)
def test_contrastive_pretraining(run, overlays, metrics, tmp_path):
    seen = {}

    def watch(parser):
        evaluator = parser.get_parsed_content("validate::evaluator")
        evaluator.add_event_handler("COMPLETED", lambda engine: seen.update(engine.state.metrics))

    folder = run(["spark_pretraining.json", *overlays], PRETRAINING, tmp_path / "run", prepare=watch, max_epochs=1)
    assert metrics <= seen.keys()
    assert 0 < seen["spread"] <= 1
    conditioned = run(["train.json"], TRAINING, tmp_path / "cddpm", encoder_dir=str(folder), max_epochs=1)
    assert ModelFolder.read(conditioned).content["parts"]["pretraining"]["method"] == ModelFolder.read(folder).method


def test_condition_of_a_trained_model_is_used(trained):
    """Shuffled conditions change what the network says, on slices that it was trained on."""
    model = ModelFolder.read(trained)
    network = model.network()
    network.load_state_dict(_weights(trained))
    network.eval()
    x = torch.rand(4, 1, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    image = torch.linspace(0, 1, 4)[:, None, None, None].expand(4, 1, 96, 96)
    steps = torch.full((4,), 499)
    assert (network(x, steps, image) - network(x, steps, image.flip(0))).abs().max() > 1e-5


def test_evaluated_model_predicts_and_is_released(run, trained, tiny_cohort, tmp_path, monkeypatch):
    """Two noise levels; the release gives the map of the source bit by bit."""
    folder = shutil.copytree(trained, tmp_path / "model")
    workflow = _workflow(["evaluate.json"], "infer", dataset_dir=str(tiny_cohort), cache_dir=str(run.cache), model_dir=str(folder),
                         output_dir=str(tmp_path / "evaluation"), **EVALUATION)  # fmt: skip
    workflow.initialize()
    workflow.parser.get_parsed_content("evaluating")
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert 0 <= metrics["datasets"]["demo_tumour"]["variants"]["l1"]["pooled"]["average_precision"] <= 1
    scan = tiny_cohort / "Test/demo_tumour/t1/P00_t1.nii.gz"
    expected = Predictor.load(folder, device="cpu").predict(scan)
    assert expected.anomaly_map.any()
    release = freeze_bundle(folder, tmp_path / "release")
    monkeypatch.chdir("/")
    found = Predictor.load(release, device="cpu").predict(scan)
    for ours, theirs in zip(found.images().values(), expected.images().values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_changed_contrast_is_measured_beside_the_original(run, trained, tiny_cohort, tmp_path):
    """The study of robustness: healthy held-out scans raised to a power, by the overlay that its matrix takes."""
    found = {}
    for exponent in (1.0, 2.0):
        folder = tmp_path / str(exponent)
        settings = {
            **EVALUATION,
            "test_timesteps": 500,
            "promote": False,
            "contrast_exponent": exponent,
            "output_dir": str(folder),
        }
        workflow = ConfigWorkflow(
            config_file=[str(CONFIGS / "evaluate.json"), "bundles/cddpm/configs/contrast_change.json"], workflow_type="infer", logging_file=False,
            dataset_dir=str(tiny_cohort), cache_dir=str(run.cache), model_dir=str(trained), **settings,
        )  # fmt: skip
        workflow.initialize()
        workflow.parser.get_parsed_content("evaluating")
        found[exponent] = read_result(folder, f"cddpm, contrast {exponent:g}")
    table = reconstruction_table(Comparison(list(found.values()), point="healthy_fpr_0.05", force=True))
    (plain, changed) = (cells for _, cells in table.rows)
    assert [head for head, _ in table.rows] == [("cddpm, contrast 1", "t1"), ("cddpm, contrast 2", "t1")]
    assert all(0 < cell.mean < 1000 for cell in (plain[0], changed[0]))
    assert changed[0].mean != pytest.approx(plain[0].mean, rel=0.02)
    assert changed[3].mean != pytest.approx(plain[3].mean, rel=0.02)


def test_encoder_that_does_not_fit_is_one_sentence(run, pretrained, trained, tmp_path, tiny_cohort):
    def refused(message, **overrides):
        with pytest.raises(ConfigError, match=message):
            run(["train.json"], TRAINING, tmp_path / "refused", **{"encoder_dir": str(pretrained), **overrides})
        assert not (tmp_path / "refused" / "model.json").exists()

    refused("pre-trained for something else: fold was 1 and is 0", fold=0)
    refused("pre-trained for something else: contrast was 't1' and is 't2'", contrast="t2")
    refused("pre-trained for something else: encoder", encoder_widths=[16, 16, 16, 32])
    refused("holds no pre-trained encoder", encoder_dir=str(trained))
    refused("no trained model in", encoder_dir=str(tmp_path / "nowhere"))
    refused("would keep an encoder that has learned nothing", encoder_dir=None, encoder_training="frozen")
    content = json.loads((pretrained / "model.json").read_text())
    assert content["training"]["cases_sha256"]
    shorter = shutil.copytree(tiny_cohort, tmp_path / "cohort")
    table = shorter / "splits" / "demo_train_fold1.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    refused("pre-trained on other scans", dataset_dir=str(shorter))


def test_presets_have_the_stated_numbers_of_parameters():
    def count(files, **overrides):
        parser = ConfigParser()
        parser.read_config([str(CONFIGS / file) for file in files])
        for key, value in overrides.items():
            parser[key] = value
        with torch.device("meta"):
            return sum(p.numel() for p in parser.get_parsed_content("network_spec")().parameters())

    assert count(["train.json"]) == 43_871_873 + 23_764_032
    assert count(["spark_pretraining.json"]) == 37_964_305
    other = {"encoder_block": "basic", "encoder_layers": [2, 2, 2, 2], "decoder_width": 256}
    assert count(["spark_pretraining.json"], **other) == 14_268_969
    assert count(["train.json", "small.json"]) == 1_476_033 + 717_040
    ddpm = Path("../../ddpm_ssim_ens/configs/train.json")
    assert [count([ddpm], film=film) for film in (False, True)] == [34_493_313, 37_513_857]
    assert count(["spark_pretraining.json", "small_pretraining.json"]) == 895_203


def test_finer_stem_is_shared_by_pretraining_and_training(run, tmp_path):
    folder = run(["spark_pretraining.json"], PRETRAINING, tmp_path / "run", stem_stride=1, max_epochs=1)
    assert ModelFolder.read(folder).content["parts"]["cell_mask"]["cell_px"] == 16
    with pytest.raises(ConfigError, match="conv1_t_stride was 1 and is 2"):
        run(["train.json"], TRAINING, tmp_path / "other", encoder_dir=str(folder))
