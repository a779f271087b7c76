# SPDX-License-Identifier: Apache-2.0
"""The README's commands are run as they stand there, on a tiny cohort and with a tiny network."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import mlflow.tracking
import nibabel as nib
import numpy as np
import pytest

from custom.cli.bundle import config_files
from custom.cli.main import main
from custom.cli.overrides import split_command, typed
from custom.core.resources import bundle_folder
from custom.runs.knobs import check_knobs
from tests import commands

TINY = {
    "training": [
        *(
            "--dataset_name",
            "demo",
            "--contrast",
            "t1",
            "--max_epochs",
            "1",
            "--channels",
            "[32,32,32]",
            "--num_res_blocks",
            "1",
        ),
        *(
            "--num_head_channels",
            "32",
            "--resblock_updown",
            "False",
            "--batch_size",
            "2",
            "--val_slices_per_volume",
            "1",
        ),
        *("--val_interval", "1", "--tracking_uri", "None"),
    ],
    "evaluating": [
        "--test_sets",
        "['demo_tumour']",
        "--test_limit",
        "1",
        "--sigma_sweep",
        "False",
        *("--draws", "1"),
        "--tracking_uri",
        "None",
    ],
}


def _blocks(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def _commands(repository):
    return [
        line for language, block in _blocks(repository) if not language for line in block.splitlines() if line.strip()
    ]


HELP_ONLY = {"matrix", "prepare", "train", "scripts/label_server.py"}  # they have tests of their own


def test_everyday_commands(repository, tiny_cohort, tmp_path):
    cohort = shutil.copytree(tiny_cohort, tmp_path / "DATA")
    scan = next((cohort / "Test/demo_tumour/t1").glob("*.nii.gz"))
    shutil.copy(scan, tmp_path / "scan.nii.gz")
    ran = set()
    for command in _commands(repository):
        program, *arguments = shlex.split(command)
        if program not in ("python", "uad"):
            continue
        stage = arguments[3] if "monai.bundle" in arguments else arguments[0]
        if stage in HELP_ONLY:
            arguments = [*arguments, "--help"]
        elif any("mysite" in argument for argument in arguments):
            continue  # test_a_data_set_of_ones_own runs these
        if stage == "predict" and "--model" not in arguments:
            arguments += ["--contrast", "t1"]  # a head of noise looks like no contrast
        if program == "uad":
            arguments = ["-m", "custom.cli.main", *arguments]
        arguments = [a.replace("DATA", str(cohort)).replace("output/", f"{tmp_path}/output/") for a in arguments]
        arguments = [str(tmp_path / a) if a in ("scan.nii.gz", "out", "release") else a for a in arguments]
        finished = commands.run([*arguments, *TINY.get(stage, [])], repository, PYTHONPATH=str(repository))
        assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
        ran.add(stage)
    wanted = {"training", "evaluating", "predict", "check", "freeze", *HELP_ONLY}
    assert wanted <= ran
    assert (tmp_path / "release/ddpm_ssim_ens_t1_fold0.zip").is_file()
    assert list((tmp_path / "out").rglob("*anomaly*.nii.gz"))


def test_python_example(repository, tiny_cohort, tmp_path):
    shutil.copy(next((tiny_cohort / "Test/demo_tumour/t2").glob("*.nii.gz")), tmp_path / "scan.nii.gz")
    (example,) = (block for language, block in _blocks(repository) if language == "python")
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    finished = commands.run(["example.py"], tmp_path, PYTHONPATH=str(repository))
    assert finished.returncode == 0, finished.stderr
    assert list((tmp_path / "out").rglob("*.html"))


OWN_SETTINGS = {
    "train": "--max_epochs 1 --val_interval 1 --channels 8 8 16 16 --tracking_uri none",
    "evaluate": "--test_limit 1 --sigma_sweep false --tracking_uri none",
}


def test_a_data_set_of_ones_own(repository, tmp_path, monkeypatch):
    """The commands of that section, from lists to a map; the raw scans' part is tested in tests/rawscans."""
    monkeypatch.chdir(tmp_path)
    index = np.indices((96, 96, 60)).transpose(1, 2, 3, 0)
    inside = (((index - [48, 48, 30]) / [34, 42, 28]) ** 2).sum(-1) < 1
    for number in range(8):
        noise = np.random.default_rng(number).standard_normal(inside.shape)
        image = np.where(inside, 500 + 50 * noise, 0).astype(np.float32)
        for kind, array in (("flair", image), ("mask", inside.astype(np.uint8))):
            file = tmp_path / f"DATA/Train/mysite/{kind}/sub-{number:02}_{kind}.nii.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 2, 1])), file)
    shutil.copy(tmp_path / "DATA/Train/mysite/flair/sub-00_flair.nii.gz", tmp_path / "scan.nii.gz")
    (tmp_path / "DATA/dataset.json").write_text('{"datasets": [{"name": "mysite", "healthy": true}]}', encoding="utf-8")
    section = (repository / "README.md").read_text(encoding="utf-8").split("## Data of your own")[1].split("\n## ")[0]
    commands = [line.split() for line in section.splitlines() if line.startswith("uad ")]
    assert [words[1] for words in commands] == ["prepare", "splits", "train", "check", "plant", "evaluate", "predict"]
    for _, stage, *words in commands[1:]:
        assert main([stage, *words, *OWN_SETTINGS.get(stage, "").split()]) == 0, stage
    assert list((tmp_path / "out_mysite").rglob("*anomaly_map.nii.gz"))


def test_demo_runs_to_its_last_line(repository, tmp_path):
    """``make demo`` with fewer subjects and one epoch."""
    finished = subprocess.run(
        [sys.executable, "-m", "custom.cli.main", "demo", "--quick", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "demo")],
        cwd=repository, capture_output=True, text=True, timeout=900, check=False, env=os.environ | {"PYTHONPATH": str(repository)},
    )  # fmt: skip
    assert finished.returncode == 0, f"{finished.stdout}\n{finished.stderr}"
    assert "## demo_stroke (1 scans)" in (tmp_path / "demo/evaluation/report.md").read_text(encoding="utf-8")
    assert list((tmp_path / "demo/evaluation/figures/cases/demo_tumour").glob("*.png"))
    assert f"sqlite:///{tmp_path}/mlflow.db" in finished.stdout
    client = mlflow.tracking.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "demo_t2")
    runs = {run.data.tags["stage"]: run for run in client.search_runs([experiment.experiment_id])}
    _check_tracked(client, experiment, runs)


def _check_tracked(client, experiment, runs):
    """What MLflow shows of a training and its evaluation: telling names, few numbers, what differs, pictures, files."""
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    training, evaluation = runs["training"], runs["evaluation"]
    assert training.info.run_name == "ddpm_ssim_ens demo_t2_fold0"
    assert evaluation.info.run_name == "ddpm_ssim_ens demo_t2_fold0, evaluation"
    assert {"validation/l1"} <= set(training.data.metrics) <= {"train/loss", "train/learning_rate", "validation/l1"}
    numbers = set(evaluation.data.metrics)
    assert "evaluation/demo_stroke/average_precision" in numbers
    assert len(numbers) <= 40
    params = training.data.params | evaluation.data.params
    assert params["test_limit"] == "1"
    assert params["limit"] == "None"
    assert "erosion_mm" in params["postprocessing"]
    assert params["lr"] == "0.0005"  # of the small preset
    assert any(name.startswith("parts.preparation") for name in params)
    for run in runs.values():
        assert run.data.tags["mlflow.source.git.commit"]
        files = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert files >= ({"model.json", "pictures"} if run is training else {"metrics.json", "report.md", "figures"})
    assert [item.path for item in client.list_artifacts(training.info.run_id, "pictures")] == [
        "pictures/epoch_00001.png"
    ]


def test_mlflow_shows_the_runs(repository, tmp_path):
    """The README's ``mlflow ui`` line answers on this machine."""
    (command,) = (c for c in _commands(repository) if c.startswith("mlflow ui"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    _, *arguments = shlex.split(command)
    (tmp_path / "output").mkdir()
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments, "--port", str(port), "--workers", "1"],
            cwd=tmp_path, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    assert answer.status == 200
                    break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
                time.sleep(0.5)
        else:
            pytest.fail((tmp_path / "log").read_text(encoding="utf-8"))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_make_targets_exist(repository):
    targets = {
        line.split(":")[0] for line in (repository / "Makefile").read_text().splitlines() if re.match(r"[a-z-]+:", line)
    }
    wanted = {command.split()[1] for command in _commands(repository) if command.startswith("make ")}
    assert {"demo", "test"} <= wanted <= targets


def test_continuous_integration_calls_the_test_command(repository):
    assert "make test" in (repository / ".ci" / "run").read_text()


def test_variants_of_the_table_can_be_given(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    table = text.partition("| want |")[2].partition("\n\n")[0]
    flags = [shlex.split(flag) for flag in re.findall(r"`((?:train|evaluate) --.*?)`", table)]
    assert len(flags) >= 6
    for stage, *words in flags:
        _, settings = split_command(words, [])
        presets = settings.pop("preset", [])
        config = {}
        for file in config_files(bundle_folder("ddpm_ssim_ens"), stage, presets):
            config.update(json.loads(file.read_text(encoding="utf-8")))
        values = {name: typed(name, words, config, stage) for name, words in settings.items()}
        check_knobs({**config, **values})
