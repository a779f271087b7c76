# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` at random moments of a training, an evaluation and a batch of scans: the results are the undisturbed ones.

``UAD_KILLS`` is the number of kills of each (default 2); the exercise of docs/robustness.md is ``UAD_KILLS=20 pytest -s``.
Half of the kills fall into the start of the process (checks of the data, preparation), half behind the first product. The seed is fixed; the moments are not, they depend on the machine.
"""

import hashlib
import json
import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from custom.core.digests import CONTENT_KEY, file_sha256, read_checked_json
from custom.runs.model_folder import ModelFolder
from tests import commands

KILLS = int(os.environ.get("UAD_KILLS", "2"))
EPOCHS = 4 + 2 * KILLS
SCANS = min(12, 2 + KILLS)
TRAIN = "['bundles/ddpm_ssim_ens/configs/train.json','bundles/ddpm_ssim_ens/configs/small.json']"
TINY = ["--channels", "[32,32,32]", "--num_res_blocks", "1", "--precision", "fp32", "--batch_size", "2", "--val_interval", "1",
        "--val_slices_per_volume", "1", "--checkpoint_interval", "1", "--contrast", "t1", "--dataset_name", "demo"]  # fmt: skip


def _found(folder, pattern):
    """Files below a folder from which a running process takes files away."""
    files = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    return {path for path in files if path.match(pattern)}


class Exercise:
    """One command that is run undisturbed in one folder and killed again and again in another.

    Args:
        command: from the output folder to the command line.
        product: pattern of the files that are made one after the other.
        products: number of them.
    """

    def __init__(self, command, product, products, repository):
        self.command, self.product, self.products, self.repository = command, product, products, repository

    def start(self, folder):
        return commands.start(self.command(folder), self.repository, Path(os.devnull), folder.with_suffix(".err"), {})

    def undisturbed(self, folder):
        """Run to the end and remember how long it took to the first product and from one to the next."""
        began, process, self.first_s = time.monotonic(), self.start(folder), None
        while process.is_alive():
            if self.first_s is None and _found(folder, self.product):
                self.first_s = time.monotonic() - began
            time.sleep(0.02)
        assert process.exitcode == 0, folder.with_suffix(".err").read_text()
        self.each_s = (time.monotonic() - began - self.first_s) / self.products

    def killed(self, folder):
        """Kill ``KILLS`` times, then run to the end; print where the kills fell."""
        draw, where = random.Random(0), Counter()
        while where.total() < KILLS:
            began, known, at_work = time.monotonic(), _found(folder, self.product), draw.random() < 0.5
            process = self.start(folder)
            if at_work:
                while process.is_alive() and _found(folder, self.product) <= known:
                    time.sleep(0.005)
            end = time.monotonic() + draw.uniform(0, 2 * self.each_s if at_work else self.first_s)
            while process.is_alive() and time.monotonic() < end:
                time.sleep(0.005)
            process.kill()
            process.join()
            if process.exitcode == -9:
                writing = any(path.stat().st_mtime > time.time() - 2 for path in _found(folder, ".tmp-*"))
                where["while a file was written" if writing else "at work" if at_work else "at the start"] += 1
            elif not at_work:  # faster than the undisturbed one, or nothing was left to do
                self.first_s = time.monotonic() - began
        process = self.start(folder)
        process.join()
        assert process.exitcode == 0, folder.with_suffix(".err").read_text()
        print(f"\n{self.product}: killed {KILLS} times, {dict(where)}")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def training(work, tiny_cohort, repository):
    """A training that was run undisturbed into the folder ``trained``."""

    def command(output):
        return ["-m", "monai.bundle", "run", "training", "--config_file", TRAIN, *TINY, "--tracking_uri=None",
                "--dataset_dir", str(tiny_cohort), "--cache_dir", str(output / "cache"), "--output_dir", str(output),
                "--max_epochs", str(EPOCHS)]  # fmt: skip

    exercise = Exercise(command, "iteration_*.json", EPOCHS, repository)
    exercise.undisturbed(work / "trained")
    return exercise


def _digest(value):
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {key: _digest(item) for key, item in value.items()}
    return [_digest(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.fault(51, "`kill -9` in training", "resumed weights are the same bits (CPU)", "foreseen")
def test_killed_training_ends_with_the_same_bits(training, work):
    folders = work / "trained", work / "killed_training"
    training.killed(folders[1])
    one, other = (file_sha256(folder / "model.safetensors") for folder in folders)
    assert one == other
    for name in ("best.pt", f"iteration_{2 * EPOCHS:08d}.pt"):
        one, other = (torch.load(folder / "checkpoints" / name, weights_only=True) for folder in folders)
        assert _digest(one) == _digest(other), name
    assert json.loads((folders[1] / "run.json").read_text())["status"] == "finished"


@pytest.fixture(scope="module")
def evaluation(training, tiny_cohort, work, repository):
    """An evaluation that was run undisturbed in the folder ``evaluated``."""

    def command(output):
        return ["-m", "monai.bundle", "run", "evaluating", "--config_file",
                "bundles/ddpm_ssim_ens/configs/evaluate.json", "--tracking_uri=None", "--dataset_dir", str(tiny_cohort),
                "--cache_dir", str(work / "cache"), "--model_dir", str(output), "--sigma_sweep", "False",
                "--test_sets", "['demo_tumour']", "--limit", "1", "--draws", "1"]  # fmt: skip

    for name in ("evaluated", "killed_evaluation"):
        shutil.copytree(work / "trained", work / name)
    exercise = Exercise(command, "evaluation/reconstructions/[!.]*.npy", 4, repository)
    exercise.undisturbed(work / "evaluated")
    return exercise


@pytest.mark.fault(
    52,
    "`kill -9` between folds or scans, or within",
    "finished work is kept, the rest is done, the results are the same",
    "foreseen",
)
def test_killed_evaluation_finds_the_same(evaluation, work):
    whole, killed = folders = work / "evaluated", work / "killed_evaluation"
    evaluation.killed(killed)
    for name in (
        "evaluation/per_case.csv",
        "evaluation/report.md",
        "evaluation/calibration.json",
        "evaluation/metrics.json",
    ):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    one, other = (
        {path.name: file_sha256(path) for path in folder.glob("evaluation/reconstructions/[!.]*.npy")}
        for folder in folders
    )
    assert one == other
    assert len(one) == 4
    assert not (killed / "evaluation" / ".maps").exists()


def _results(folder):
    """Everything below a folder, without times of the clock."""
    found = {}
    for path in sorted(folder.rglob("[!.]*.*")):
        if path.name.endswith(".nii.gz"):
            image = nib.load(path)
            found[path.name] = (np.asarray(image.dataobj).tobytes(), image.header.binaryblock)
        elif path.name.endswith("_summary.json"):
            found[path.name] = json.loads(path.read_text()) | {"Seconds": None, "Outputs": None, CONTENT_KEY: None}
        else:
            found[path.name] = path.suffix
    return found


@pytest.mark.fault(52)
def test_killed_batch_of_scans_gives_the_same(evaluation, tiny_cohort, work, repository):
    model = ModelFolder.read(work / "evaluated")  # the evaluation of one scan a group is a trial, enough for this test
    calibration = read_checked_json(work / "evaluated" / "evaluation" / "calibration.json", "")
    model.promote({**calibration, "trial": None})
    scans = work / "scans.txt"
    scans.write_text("".join(f"{path}\n" for path in sorted(tiny_cohort.glob("T*/*/t1/*.nii.gz"))[:SCANS]))

    def command(output):
        return ["scripts/predict.py", str(scans), "-o", str(output), "--model", str(work / "evaluated")]

    exercise = Exercise(command, "*_summary.json", SCANS, repository)
    exercise.undisturbed(work / "results")
    exercise.killed(work / "killed_results")
    whole, killed = (_results(work / name) for name in ("results", "killed_results"))
    assert whole.keys() == killed.keys()
    assert sum(name.endswith("_summary.json") for name in whole) == SCANS
    assert [name for name in whole if whole[name] != killed[name]] == []
