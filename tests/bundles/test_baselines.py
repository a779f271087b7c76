# SPDX-License-Identifier: Apache-2.0
"""Every baseline is trained for two epochs and evaluated on a tiny cohort, as the command line would."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out

from custom.core.errors import ConfigError
from custom.models.weights import read_state_dict
from custom.noise import GridPatches
from custom.prediction.predictor import Predictor, inference_parser
from custom.release.freeze import freeze_bundle
from custom.scoring import intensity

SHORT = {"max_epochs": 2, "batch_size": 2, "val_interval": 1, "val_slices_per_volume": 1, "tracking_uri": None}
DIFFUSION = {
    "channels": [32, 32],
    "num_res_blocks": 1,
    "num_head_channels": 32,
    "resblock_updown": False,
    "val_timesteps": [499],
}
GAUSSIAN = "%custom/configs/noise.json::gaussian"
SCORES = {name: f"%custom/configs/scoring.json::{name}" for name in ("ssim_ens", "l1")}
METHODS = {  # method: bundle, overlays of train.json, overrides of train.json
    "ae": ("ae_baseline", [], {**SHORT, "latent_size": 8}),
    "vae": ("ae_baseline", [], {**SHORT, "latent_size": 8, "variational": True}),
    "dae": ("dae_baseline", [], {**SHORT, "channels": [8, 16]}),
    "pddpm": ("ddpm_ssim_ens", ["pddpm.json"], {**SHORT, **DIFFUSION, "patch_px": 80, "noise": GAUSSIAN}),
    "threshold": ("threshold_baseline", [], {}),
    "atlas": ("atlas_baseline", [], {}),
}


def _run(files, workflow_type, stage, overrides):
    workflow = ConfigWorkflow(
        config_file=[str(file) for file in files], workflow_type=workflow_type, logging_file=False, **overrides
    )
    workflow.initialize()
    return workflow.parser.get_parsed_content(stage)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("baselines")


@pytest.fixture(autouse=True)
def _at_the_root(repository, monkeypatch):
    monkeypatch.chdir(repository)


def _common(tiny_cohort, work, method):
    return {"dataset_dir": str(tiny_cohort), "cache_dir": str(work / "cache"), "output_dir": str(work / method)}


@pytest.fixture(scope="module", params=METHODS)
def run(request, tiny_cohort, work, repository):
    """Train and evaluate one method; return its name and output folder."""
    method, (bundle, overlays, overrides) = request.param, METHODS[request.param]
    configs = repository / "bundles" / bundle / "configs"
    common = _common(tiny_cohort, work, method)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        files = [configs / "train.json", *(configs / name for name in overlays)]
        _run(files, "train", "training", {**common, "dataset_name": "demo", "fold": 1, "contrast": "t1", **overrides})
        changed = {
            "test_sets": ["demo_tumour"],
            "limit": 1,
            "sigma_sweep": False,
            "tracking_uri": None,
            "healthy_test": False,
        }
        if method != "threshold":
            changed["scores"] = SCORES
        if method == "pddpm":
            changed |= {"noise": GAUSSIAN, "patch_px": 96}  # one box: a quarter of the time
        _run([configs / "evaluate.json"], "infer", "evaluating", {**common, **changed})
    return method, Path(common["output_dir"])


def test_trained_and_evaluated(run):
    method, folder = run
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    assert {key: settings[key] for key in ("method", "dataset_name", "contrast", "fold")} == {
        "method": method, "dataset_name": "demo", "contrast": "t1", "fold": 1,
    }  # fmt: skip
    result = json.loads((folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert {key: result["protocol"][key] for key in ("method", "contrast", "fold")} == {
        "method": method,
        "contrast": "t1",
        "fold": 1,
    }
    variants = result["datasets"]["demo_tumour"]["variants"]
    expected = {"threshold": {"intensity", "darkness"}}.get(
        method, {"ssim_ens", "l1"} | ({"zscore"} if method == "atlas" else set())
    )
    assert set(variants) == expected
    for found in variants.values():
        assert 0 <= found["pooled"]["average_precision"] <= 1
        assert "tuned" in found["operating_points"]
    assert bool(read_state_dict(folder / "model.safetensors")) == (method != "threshold")


def test_pddpm_tells_its_boxes(run):
    method, folder = run
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    protocol = json.loads((folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))["protocol"]
    assert settings.get("patch_px") == (80 if method == "pddpm" else None)
    assert protocol.get("patches") == ("GridPatches(patch_px=96, stride_px=None)" if method == "pddpm" else None)


def test_pddpm_is_evaluated_with_the_boxes_of_its_training(run):
    method, folder = run
    if method == "pddpm":
        assert inference_parser(folder).get_parsed_content("patches") == GridPatches(80)
        parser = ConfigParser(
            json.loads(Path("bundles/ddpm_ssim_ens/configs/evaluate.json").read_text(encoding="utf-8"))
        )
        parser["output_dir"] = str(folder)
        assert parser.get_parsed_content("patches") == GridPatches(80)


def test_all_methods_may_stand_in_one_table(run):
    """The protocol key covers data, preparation, post-processing and plan, not the method."""
    _, folder = run
    keys = {
        path.parts[-3]: json.loads(path.read_text(encoding="utf-8"))["protocol"]["key"]
        for path in folder.parent.glob("*/evaluation/metrics.json")
    }
    assert len(set(keys.values())) == 1, keys


def test_bright_lesions_are_found_by_brightness(run):
    method, folder = run
    if method == "threshold":
        metrics = json.loads((folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
        variants = metrics["datasets"]["demo_tumour"]["variants"]
        assert variants["intensity"]["operating_points"]["tuned"]["per_case"]["dice"]["mean"] > 0.5
        assert variants["darkness"]["pooled"]["average_precision"] < 0.1


@pytest.fixture
def release(run, tmp_path):
    """Folder and zip of a release."""
    return freeze_bundle(run[1], tmp_path / "release", archive=True)


def test_releases_give_the_map_of_the_source(run, release, tiny_cohort, tmp_path, monkeypatch):
    """Bit by bit, from the root of the disk, as folder and unpacked from the zip; MONAI's own command for the AE."""
    scan = tiny_cohort / "Test/demo_tumour/t1/P00_t1.nii.gz"
    knobs = {"device": "cpu", **({"patch_px": 96} if run[0] == "pddpm" else {})}  # one box: a quarter of the time
    expected = Predictor.load(run[1], **knobs).predict(scan)
    assert expected.anomaly_map.any()
    shutil.unpack_archive(release.with_name(f"{release.name}.zip"), tmp_path / "unpacked")
    unpacked = tmp_path / "unpacked" / release.name
    monkeypatch.chdir("/")
    for folder in (release, unpacked) if run[0] == "ae" else (unpacked,):
        if run[0] == "ae":
            environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            command = [sys.executable, "-m", "monai.bundle", "run", "inference", "--config_file"]
            command += [str(folder / "configs/inference.json"), "--bundle_root", str(folder), "--input", str(scan)]
            command += ["--results_dir", str(folder.parent / "out"), "--device", "cpu", "--report", "False"]
            done = subprocess.run(
                command, cwd="/", env={**environment, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            names = ("anomaly_map", "anomaly_mask", "pseudohealthy_T1w")
            files = [next((folder.parent / "out").rglob(f"*_desc-{name}.nii.gz")) for name in names]
            found = [np.asarray(nib.load(file).dataobj) for file in files]
        else:
            result = Predictor.load(folder / "models", folder / "configs/inference.json", **knobs).predict(scan)
            found = list(result.images().values())
        for ours, theirs in zip(found, expected.images().values(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_monai_checks_releases(run, release, repository, tmp_path, monkeypatch):
    """Metadata and network of every release; TorchScript of those whose network takes an image alone."""
    (tmp_path / "eval").mkdir()
    schema = shutil.copy(repository / "tests/bundles/meta_schema.json", tmp_path / "eval/schema.json")
    meta, config = str(release / "configs/metadata.json"), str(release / "configs/inference.json")
    monkeypatch.chdir(tmp_path)
    verify_metadata(meta_file=meta, filepath=str(schema))
    more = {"extra_forward_args": {"timesteps": torch.tensor([1])}} if run[0] == "pddpm" else {}
    verify_net_in_out(net_id="network_def", meta_file=meta, config_file=config, device="cpu", **more)
    weights = str(release / "models/model.pt")
    files = {"ckpt_file": weights, "meta_file": meta, "config_file": config}
    if run[0] == "pddpm":
        with pytest.raises(RuntimeError, match="spatialattention"):
            ckpt_export("network_def", "m.ts", **files)
        with pytest.raises(TypeError, match="timesteps"):
            ckpt_export("network_def", "m.ts", use_trace=True, **files)
        return
    ckpt_export("network_def", "m.ts", use_trace=True, **files)
    image = torch.rand(1, 1, *((96, 96, 50) if run[0] in ("atlas", "threshold") else (96, 96)))
    network = ConfigParser(json.loads(Path(config).read_text(encoding="utf-8"))).get_parsed_content("network_def")
    network.load_state_dict(read_state_dict(weights))
    torch.testing.assert_close(torch.jit.load("m.ts")(image), network.eval()(image))


def test_a_bundle_that_takes_no_scans_is_no_release(run, repository, tmp_path):
    (tmp_path / "bundle/configs").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no bundle that scans can be given to"):
        freeze_bundle(run[1], tmp_path / "release", tmp_path / "bundle")


def test_thresholding_of_a_scan_is_its_darkness(run, tiny_cohort):
    if run[0] == "threshold":
        predictor = Predictor.load(run[1], device="cpu")
        assert predictor.calibration.score == "darkness"
        result = predictor.predict(tiny_cohort / "Test/demo_tumour/t1/P00_t1.nii.gz")
        inside = result.pseudohealthy != 0
        brain = nib.load(tiny_cohort / "Test/demo_tumour/t1/P00_t1.nii.gz").get_fdata()[inside]
        assert result.pseudohealthy[inside].max() <= np.percentile(brain, 1.5)  # 0 on the scan's own scale
        assert inside.any()
        with pytest.raises(ConfigError, match="belong to the score darkness, not to intensity"):
            Predictor.load(run[1], score="intensity")


def test_the_calibrated_score_of_thresholding_is_taken(run, tmp_path):
    if run[0] == "threshold":
        folder = shutil.copytree(run[1], tmp_path / "run")
        calibration = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
        (folder / "calibration.json").write_text(json.dumps({**calibration, "score": "intensity"}), encoding="utf-8")
        parser = inference_parser(folder)
        assert parser.get_parsed_content("scoring") is intensity
        assert parser.get_parsed_content("calibration").score == "intensity"
        (folder / "calibration.json").write_text("{", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"calibration.json cannot be read: .*run the evaluation"):
            inference_parser(folder)


def _network(bundle, **knobs):
    parser = ConfigParser({"network_def": f"%bundles/{bundle}/configs/model.json::network_def", **knobs})
    return parser.get_parsed_content("network_def")


def _knobs(bundle, *names):
    config = json.loads(Path(f"bundles/{bundle}/configs/train.json").read_text(encoding="utf-8"))
    return {name: config[name] for name in names}


def test_parameter_counts():
    """DAE: 7,701,825 (Kascenas et al.). AE: the two dense layers 592,256, the rest 928,273; VAE: a second dense layer more."""
    count = lambda network: sum(p.numel() for p in network.parameters())  # noqa: E731
    knobs = _knobs("ae_baseline", "image_size", "latent_size", "dropout", "variational")
    features = 16 * 12 * 12
    assert count(_network("dae_baseline", **_knobs("dae_baseline", "channels"))) == 7_701_825
    assert (
        count(_network("ae_baseline", **knobs))
        == 928_273 + (features * 128 + 128) + (128 * features + features)
        == 1_520_529
    )
    assert count(_network("ae_baseline", **knobs | {"variational": True})) == 1_520_529 + features * 128 + 128


def test_atlas_is_the_mean_of_the_training_scans(tiny_cohort, work, repository):
    common = _common(tiny_cohort, work, "atlas_alone")
    configs = repository / "bundles/atlas_baseline/configs"
    _run([configs / "train.json"], "train", "training", {**common, "dataset_name": "demo"})
    workflow = ConfigParser(
        json.loads((configs / "train.json").read_text(encoding="utf-8")) | common | {"dataset_name": "demo"}
    )
    images = np.stack([case["image"][0].numpy() for case in workflow.get_parsed_content("train::dataset")])
    maps = read_state_dict(work / "atlas_alone" / "model.safetensors")
    assert len(images) == 4
    np.testing.assert_allclose(maps["mean"].numpy(), images.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(maps["deviation"].numpy(), images.std(axis=0, ddof=1), atol=1e-6)


def test_dae_continues_its_learning_rate(tiny_cohort, work, repository):
    """An interrupted training ends with the weights of an undisturbed one, learning-rate schedule included."""
    configs = repository / "bundles/dae_baseline/configs"
    options = {**SHORT, "channels": [8, 16], "checkpoint_interval": 1, "lr_half_period": 3, "dataset_name": "demo"}
    for name, epochs in (("whole", [2]), ("halves", [1, 2])):
        for max_epochs in epochs:
            _run(
                [configs / "train.json"],
                "train",
                "training",
                {**_common(tiny_cohort, work, name), **options, "max_epochs": max_epochs},
            )
    whole, halves = (
        torch.load(sorted((work / name / "checkpoints").glob("iteration_*.pt"))[-1], weights_only=True)
        for name in ("whole", "halves")
    )
    assert whole["lr_schedule"]["last_epoch"] == halves["lr_schedule"]["last_epoch"] == 4
    assert whole["lr_schedule"]["_last_lr"] == halves["lr_schedule"]["_last_lr"] != [1e-4]
    for name, weights in whole["network"].items():
        assert torch.equal(weights, halves["network"][name]), name
