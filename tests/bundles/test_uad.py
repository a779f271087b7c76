# SPDX-License-Identifier: Apache-2.0
"""``uad`` runs the bundles' own configurations: the same bits as MONAI's command line, from any folder, under any path."""

import pytest

from custom.cli import stage
from custom.cli.main import main
from custom.core.digests import file_sha256
from custom.core.errors import ConfigError
from custom.runs.model_folder import ModelFolder
from tests import commands

TINY = {
    "dataset_name": "demo", "contrast": "t1", "max_epochs": "1", "batch_size": "2", "val_slices_per_volume": "1",
    "val_interval": "1", "channels": "[32,32,32]", "num_res_blocks": "1", "num_head_channels": "32", "resblock_updown": "False",
    "tracking_uri": "none",
}  # fmt: skip


def test_uad_and_monai_train_the_same_weights(tiny_cohort, tmp_path, repository, monkeypatch):
    settings = [word for key, value in TINY.items() for word in (f"--{key}", value)]
    command = ["-m", "monai.bundle", "run", "training", "--config_file", "bundles/ddpm_ssim_ens/configs/train.json"]
    places = ["--dataset_dir", str(tiny_cohort), "--output_dir", str(tmp_path / "monai")]
    finished = commands.run([*command, *places, *settings], repository)
    assert finished.returncode == 0, finished.stderr
    monkeypatch.chdir(tmp_path)
    name = "mo del %#1 $x @y"
    assert main(["train", "ddpm_ssim_ens", "--data", str(tiny_cohort), "-o", name, *settings]) == 0
    weights = file_sha256(tmp_path / "monai" / "model.safetensors")
    assert file_sha256(tmp_path / name / "model.safetensors") == weights


def test_a_stage_of_a_matrix_runs_from_any_folder_under_any_name(tiny_cohort, tmp_path, monkeypatch):
    """The bundle is found in the package, and no path is read as code: what an installed wheel needs."""
    monkeypatch.chdir(tmp_path)
    names = ["--data", str(tiny_cohort), "--dataset_name", "demo", "--contrast", "t1"]
    assert main(["train", "threshold_baseline", "-o", "uad", *names]) == 0
    names[0] = "--dataset_dir"
    config = ["--config_file", "bundles/threshold_baseline/configs/train.json"]
    assert stage.run(["training", *config, "--output_dir", "sta ge %#1 $x @y", *names]) == 0
    assert ModelFolder.read("sta ge %#1 $x @y").content == ModelFolder.read("uad").content
    with pytest.raises(ConfigError, match="did you mean --dataset_name"):
        stage.run(["training", *config, "--dataset_nam", "demo"])


def test_a_misspelt_setting_stops_before_anything_is_written(tiny_cohort, tmp_path, capsys):
    out = tmp_path / "model"
    assert main(["train", "ddpm_ssim_ens", "--data", str(tiny_cohort), "-o", str(out), "--max_epoch", "1"]) == 2
    assert "did you mean --max_epochs?" in capsys.readouterr().err
    assert not out.exists()
