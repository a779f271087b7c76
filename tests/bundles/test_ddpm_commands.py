# SPDX-License-Identifier: Apache-2.0
"""The main bundle by its commands: train, resume, evaluate twice, misspelt and bad input, and a score of one's own."""

import json
import shutil

import numpy as np
import pytest

from custom.core.digests import file_sha256
from custom.runs.model_folder import ModelFolder
from tests import commands

pytestmark = [
    pytest.mark.fault(43),
    pytest.mark.fault(44),
    pytest.mark.fault(47),
]

TRAIN = "['bundles/ddpm_ssim_ens/configs/train.json','bundles/ddpm_ssim_ens/configs/small.json']"
EVALUATE = "bundles/ddpm_ssim_ens/configs/evaluate.json"
INFERENCE = "bundles/ddpm_ssim_ens/configs/inference.json"
TINY = ["--channels", "[32,32,32]", "--num_res_blocks", "1", "--precision", "fp32", "--batch_size", "2", "--val_interval", "1",
        "--val_slices_per_volume", "1", "--checkpoint_interval", "1", "--contrast", "t1", "--dataset_name", "demo"]  # fmt: skip
SCORES = "{'darkness': {'_target_': 'custom.scoring.darkness', '_mode_': 'callable'}}"


@pytest.fixture(scope="module")
def bundle(repository, tiny_cohort, tmp_path_factory):
    """Run a bundle command as a user would; returns the finished process."""
    cache = tmp_path_factory.mktemp("cache")

    def run(stage, config, output, *overrides, **environment):
        folder = "--output_dir" if stage == "training" else "--model_dir"
        command = ["-m", "monai.bundle", "run", stage, "--config_file", config, "--dataset_dir", str(tiny_cohort), folder, str(output),
                   *overrides]  # fmt: skip
        if stage != "inference":
            command += ["--cache_dir", str(cache), "--tracking_uri", "None"]
        return commands.run(command, repository, CUDA_VISIBLE_DEVICES="", **environment)

    return run


@pytest.fixture(scope="module")
def trained(bundle, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "two_epochs"
    finished = bundle("training", TRAIN, output, *TINY, "--max_epochs", "2")
    assert finished.returncode == 0, finished.stderr
    return output


def test_training_leaves_a_model_that_describes_itself(trained):
    model = ModelFolder.read(trained, bundle="ddpm_ssim_ens")
    assert (model.contrast, model.content["parts"]["network"]["channels"]) == ("t1", [32, 32, 32])
    assert model.weights_sha256 == file_sha256(trained / "model.safetensors")
    assert model.calibration is None
    config = json.loads((trained / "config.json").read_text())
    assert config["max_epochs"] == 2
    assert config["additive_unet_spec"]["_target_"].endswith("DiffusionModelUNet")
    best = json.loads((trained / "checkpoints" / "best.json").read_text())
    assert best["metric"] == "l1"
    assert 0 < best["value"] < 2
    events = [json.loads(line) for line in (trained / "tracking.jsonl").read_text().splitlines()]
    assert {"run", "params", "status"} <= {key for event in events for key in event}


def test_interrupted_training_ends_with_the_same_weights(trained, bundle, tmp_path):
    assert bundle("training", TRAIN, tmp_path / "run", *TINY, "--max_epochs", "1").returncode == 0
    finished = bundle("training", TRAIN, tmp_path / "run", *TINY, "--max_epochs", "2")
    assert finished.returncode == 0, finished.stderr
    assert file_sha256_of_tensors(tmp_path / "run") == file_sha256_of_tensors(trained)


def file_sha256_of_tensors(folder):
    from custom.models.weights import read_state_dict

    return {key: value.numpy().tobytes() for key, value in read_state_dict(folder / "model.safetensors").items()}


@pytest.fixture(scope="module")
def evaluated(trained, bundle):
    finished = bundle("evaluating", EVALUATE, trained, "--test_sets", "['demo_tumour']", "--limit", "2", "--draws", "1")
    assert finished.returncode == 0, finished.stderr
    return json.loads((trained / "evaluation" / "metrics.json").read_text())


def test_evaluation_reports_every_threshold_side_by_side(evaluated, trained):
    variants = evaluated["datasets"]["demo_tumour"]["variants"]
    assert {"l1", "ssim_ens", "ssim_0.3", "ssim_1.7", "intensity"} <= set(variants)
    points = variants["ssim_ens"]["operating_points"]
    assert list(points) == [
        "tuned",
        "interval_search",
        "healthy_fpr_0.01",
        "healthy_fpr_0.05",
        "typical_fpr_0.01",
        "typical_fpr_0.05",
        "oracle",
    ]
    dice = {name: point["pooled"]["dice"] for name, point in points.items()}
    assert (
        variants["intensity"]["operating_points"]["tuned"]["per_case"]["dice"]["mean"] > 0.5
    )  # the lesion is the brightest part
    assert all(0 <= value <= 1 for value in dice.values())
    folder = trained / "evaluation"
    assert {"metrics.json", "per_case.csv", "report.md", "calibration.json", "figures"} <= {
        p.name for p in folder.iterdir()
    }
    assert len(list((folder / "figures").rglob("*.png"))) >= 5
    assert not (folder / ".maps").exists()


def test_second_evaluation_reconstructs_nothing_and_finds_the_same(evaluated, trained, bundle):
    files = {path: path.stat().st_mtime_ns for path in (trained / "evaluation" / "reconstructions").iterdir()}
    finished = bundle("evaluating", EVALUATE, trained, "--test_sets", "['demo_tumour']", "--limit", "2", "--draws", "1")
    assert finished.returncode == 0, finished.stderr
    again = json.loads((trained / "evaluation" / "metrics.json").read_text())
    assert again["datasets"] == evaluated["datasets"]
    assert {path: path.stat().st_mtime_ns for path in (trained / "evaluation" / "reconstructions").iterdir()} == files


def test_new_score_by_one_file_and_one_line(trained, evaluated, bundle, repository, tmp_path):
    """A module with a function, and one line of JSON that names it; reconstructions are those of the evaluation before."""
    (tmp_path / "my_score.py").write_text(
        "def squared_brightness(image, reconstruction):\n    return image.clamp(min=0) ** 2\n", encoding="utf-8"
    )
    scoring = json.loads((repository / "custom" / "configs" / "scoring.json").read_text())
    scoring["mine"] = {"_target_": "my_score.squared_brightness", "_mode_": "callable"}
    (tmp_path / "scoring.json").write_text(json.dumps(scoring))
    finished = bundle(
        "evaluating", EVALUATE, trained, "--test_sets", "['demo_tumour']", "--limit", "1", "--draws", "1", "--sigma_sweep", "False",
        "--healthy_test", "False", "--output_dir", str(tmp_path / "evaluation"), "--scores", f"%{tmp_path}/scoring.json",
        "--reconstruction_dir", str(trained / "evaluation" / "reconstructions"),
        PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    variants = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["datasets"]["demo_tumour"]["variants"]
    assert variants["mine"]["pooled"]["average_precision"] == pytest.approx(
        variants["intensity"]["pooled"]["average_precision"], abs=5e-3
    )  # a monotone function of the brightness ranks as the brightness does, but for the median's window


@pytest.mark.parametrize(
    ("stage", "config", "overrides", "code", "sentence"),
    [
        ("training", TRAIN, ["--max_epochz", "3"], 2, "did you mean --max_epochs"),
        ("training", TRAIN, ["--max_epochs", "abc"], 2, "must be a number"),
        ("training", TRAIN, ["--dataset_name", "ixy"], 2, "ixi"),
        ("evaluating", EVALUATE, [], 2, "no trained model"),
        (
            "evaluating",
            EVALUATE,
            ["--noise", "%custom/configs/noise.json::gaussian"],
            2,
            "--noise cannot be changed here",
        ),
        (
            "evaluating",
            EVALUATE,
            ["--preparation", "%custom/configs/protocol.json::preparation"],
            2,
            "--preparation cannot be",
        ),
        ("evaluating", EVALUATE, ["--channels", "[32,64]"], 2, "--channels cannot be changed here"),
        ("evaluating", EVALUATE, ["--contrast", "t2"], 2, "--contrast cannot be changed here"),
        ("evaluating", EVALUATE, ["--evaluation_dir", "x"], 2, "writes to --output_dir"),
        ("inference", INFERENCE, ["--network_def", "{}"], 2, "--network_def cannot be changed here"),
        ("inference", INFERENCE, ["--results_dir", "x"], 2, "results go to --output_dir"),
        ("inference", INFERENCE, ["--input", "$open('PWNED','w')"], 2, "reads as code; write ./$open"),
        ("inference", INFERENCE, ["--input", "Study #3"], 2, "contains #"),
    ],
)
def test_faults_are_one_sentence_before_any_work(bundle, tmp_path, stage, config, overrides, code, sentence):
    if stage == "inference":
        overrides = ["--device", "cpu", *overrides]
    finished = bundle(stage, config, tmp_path / "none", *overrides)
    assert finished.returncode == code
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert sentence in last
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "none" / "checkpoints").exists()


def test_broken_scan_is_named_and_nothing_is_half_written(bundle, tiny_cohort, trained, tmp_path):
    import nibabel as nib

    broken = shutil.copytree(tiny_cohort, tmp_path / "cohort")
    path = broken / "Test/demo_tumour/t1/P02_t1.nii.gz"
    image = nib.load(path)
    data = image.get_fdata()
    data[40, 40, 20] = np.nan
    nib.save(nib.Nifti1Image(data, image.affine), path)
    finished = bundle(
        "evaluating", EVALUATE, trained, "--dataset_dir", str(broken), "--cache_dir", str(tmp_path / "cache"),
        "--test_sets", "['demo_tumour']", "--draws", "1", "--output_dir", str(tmp_path / "evaluation"),
    )  # fmt: skip
    assert finished.returncode == 4
    assert "P02" in finished.stderr
    assert "NaN" in finished.stderr
    assert not (tmp_path / "evaluation" / "metrics.json").exists()


def test_exchanged_weights_are_refused(trained, bundle, tmp_path):
    before = {path: path.read_bytes() for path in trained.glob("model.*")}
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").write_bytes(before[trained / "model.safetensors"][:-8] + bytes(8))
    finished = bundle("evaluating", EVALUATE, tmp_path / "run", "--test_sets", "['demo_tumour']", "--draws", "1")
    assert finished.returncode == 2
    assert "sha256 differs" in finished.stderr
