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

from custom.core.errors import ConfigError, UADError
from custom.core.foreseen import find_foreseen
from custom.evaluation import promote
from custom.models.weights import read_state_dict
from custom.noise import GaussianNoise, GridPatches
from custom.postprocessing import in_mm, none
from custom.prediction.calibration import Calibration
from custom.prediction.predictor import Predictor, inference_parser
from custom.preparation.prepare import preparation
from custom.preparation.raw_scans import for_raw_scans
from custom.release.freeze import freeze_bundle
from custom.runs.model_folder import ModelFolder

SHORT = {"max_epochs": 2, "batch_size": 2, "val_interval": 1, "val_slices_per_volume": 1, "tracking_uri": None}
DIFFUSION = {
    "channels": [32, 32, 32],
    "num_res_blocks": 1,
    "num_head_channels": 32,
    "resblock_updown": False,
    "val_timesteps": [500],
}
GAUSSIAN = "%custom/configs/noise.json::gaussian"
ISBI2024 = "%custom/configs/protocol.json::preparation_isbi2024"
COARSE = {"_target_": "custom.preparation.prepare.preparation", "percentiles": [2.0, 98.0], "clip_and_mask": False}
SCORES = {name: f"%custom/configs/scoring.json::{name}" for name in ("ssim_ens", "l1")}
METHODS = {  # method: bundle, overlays of train.json, overrides of train.json, overrides of evaluate.json
    "ae": ("ae_baseline", [], {**SHORT, "latent_size": 8}, {"scores": SCORES}),
    "vae": (
        "ae_baseline", [], {**SHORT, "latent_size": 8, "variational": True, "preparation": COARSE},
        {"scores": SCORES, "postprocessings": {"none": {"_target_": "custom.postprocessing.none"}}},
    ),
    "dae": ("dae_baseline", [], {**SHORT, "channels": [8, 16]}, {"scores": SCORES, "primary": "l1"}),
    "pddpm": (
        "ddpm_ssim_ens", ["pddpm.json"], {**SHORT, **DIFFUSION, "patch_px": 96, "noise": GAUSSIAN},
        {"scores": SCORES, "test_timesteps": 300, "draws": 1},
    ),
    "threshold": ("threshold_baseline", [], {"preparation": ISBI2024}, {}),
    "atlas": ("atlas_baseline", [], {}, {"scores": SCORES}),
}  # fmt: skip


def _run(files, workflow_type, stage, overrides):
    workflow = ConfigWorkflow(
        config_file=[str(file) for file in files], workflow_type=workflow_type, logging_file=False, **overrides
    )
    try:
        workflow.initialize()
        return workflow.parser.get_parsed_content(stage)
    except (RuntimeError, ValueError) as error:
        raise find_foreseen(error) or error from None


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("baselines")


@pytest.fixture(autouse=True)
def _at_the_root(repository, monkeypatch):
    monkeypatch.chdir(repository)


def _common(tiny_cohort, work, method):
    return {"dataset_dir": str(tiny_cohort), "cache_dir": str(work / "cache"), "output_dir": str(work / method)}


@pytest.fixture(scope="module")
def trained(tiny_cohort, work, repository):
    """Train and evaluate a method and promote the evaluation, once; return the model folder."""

    def make(method):
        folder = work / method
        if folder.exists():
            return folder
        bundle, overlays, training, evaluation = METHODS[method]
        configs = repository / "bundles" / bundle / "configs"
        data = {"dataset_dir": str(tiny_cohort), "cache_dir": str(work / "cache")}
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(repository)
            files = [configs / "train.json", *(configs / name for name in overlays)]
            common = {**data, "output_dir": str(folder), "dataset_name": "demo", "fold": 1, "contrast": "t1"}
            _run(files, "train", "training", common | training)
            changed = {"model_dir": str(folder), "test_sets": ["demo_tumour"], "test_limit": 1, "healthy_test": False,
                       "tracking_uri": None, **({} if method == "threshold" else {"sigma_sweep": False})}  # fmt: skip
            before = _files(folder)
            _run([configs / "evaluate.json"], "infer", "evaluating", data | changed | evaluation)
            assert {name: data for name, data in _files(folder).items() if not name.startswith("evaluation/")} == before
            promote(folder, folder / "evaluation")
        return folder

    return make


@pytest.fixture(scope="module", params=METHODS)
def run(request, trained):
    """Name and model folder of one method."""
    return request.param, trained(request.param)


@pytest.fixture(scope="module")
def released(trained, work):
    """Freeze a method, once; return the folder of the release, beside which the zip lies."""

    def make(method):
        folder = work / "releases" / f"{method}_released"
        return (
            folder if folder.exists() else freeze_bundle(trained(method), folder.parent, name=folder.name, archive=True)
        )

    return make


@pytest.fixture(scope="module")
def release(run, released):
    """Folder of a release."""
    return released(run[0])


def _files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_trained_and_evaluated(run):
    method, folder = run
    model = ModelFolder.read(folder, bundle=METHODS[method][0])
    assert model.identity == {
        "bundle": METHODS[method][0], "method": method, "contrast": "t1", "dataset": "demo", "fold": 1, "seed": 3141,
    }  # fmt: skip
    result = json.loads((folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert {key: result["protocol"][key] for key in ("method", "contrast", "fold")} == {
        "method": method,
        "contrast": "t1",
        "fold": 1,
    }
    assert result["protocol"]["model"] == model.definition()
    variants = result["datasets"]["demo_tumour"]["variants"]
    expected = {"threshold": {"intensity", "darkness"}}.get(
        method, {"ssim_ens", "l1"} | ({"zscore"} if method == "atlas" else set())
    )
    assert set(variants) - {"uninformative"} == expected
    for found in variants.values():
        assert 0 <= found["pooled"]["average_precision"] <= 1
        assert "tuned" in found["operating_points"]
    assert bool(read_state_dict(folder / "model.safetensors")) == (method != "threshold")
    calibration = Calibration.of(model)
    assert calibration.score == {"dae": "l1", "atlas": "zscore", "threshold": "darkness"}.get(method, "ssim_ens")
    assert list(calibration.thresholds) == [
        "typical_fpr_0.01", "typical_fpr_0.05", "healthy_fpr_0.01", "healthy_fpr_0.05", "tuned/demo_tumour",
    ]  # fmt: skip


def test_what_was_trained_with_is_what_is_applied(run):
    """Variants of noise, boxes, preparation and post-processing come back from the model, not from the configurations."""
    method, folder = run
    model, parser = ModelFolder.read(folder), inference_parser(folder, device="cpu")
    expected = {"threshold": preparation("isbi2024"), "vae": preparation(percentiles=(2, 98), clip_and_mask=False)}
    assert model.build("preparation") == expected.get(method, preparation("standard"))
    used = parser.get_parsed_content("preprocessing").transforms[1].preparation
    assert used == for_raw_scans(model.build("preparation"), "auto", register="auto")  # adds steps for heads only
    assert parser.get_parsed_content("postprocessing_chain") == (none() if method == "vae" else in_mm())
    assert set(model.content["parts"]) == {"network", "preparation"} | {
        "pddpm": {"scheduler", "noise", "patches"}, "dae": {"corruption"},
    }.get(method, set())  # fmt: skip
    if method == "pddpm":
        reconstruction = parser.get_parsed_content("reconstruction")
        assert reconstruction.patches == GridPatches(96)
        assert isinstance(reconstruction.noise, GaussianNoise)
        assert reconstruction.test_timesteps == (300,)


def test_methods_of_one_preparation_and_post_processing_may_stand_in_one_table(trained):
    """The protocol key covers data, preparation, post-processing and plan, not the method."""

    def read(name):
        metrics = json.loads((trained(name) / "evaluation/metrics.json").read_text(encoding="utf-8"))
        return metrics["protocol"]["key"]

    assert read("ae") == read("dae") == read("pddpm") == read("atlas")
    assert len({read("ae"), read("vae"), read("threshold")}) == 3


def test_a_release_runs_by_the_command_of_monai_from_the_root_of_the_disk(tiny_cohort, trained, released, tmp_path):
    """Unpacked from the zip, in a process of its own whose only ``custom`` is the released one."""
    shutil.unpack_archive(released("ae").with_suffix(".zip"), tmp_path)
    unpacked = tmp_path / "ae_released"
    scan = tiny_cohort / "Test/demo_tumour/t1/P00_t1.nii.gz"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-m", "monai.bundle", "run", "inference", "--config_file"]
    command += [str(unpacked / "configs/inference.json"), "--input", str(scan), "--output_dir", str(tmp_path / "out")]
    command += ["--device", "cpu", "--report", "False"]
    run = lambda *more: subprocess.run(  # noqa: E731
        [*command, *more], cwd="/", env={**environment, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True
    )
    lost = run()
    assert lost.returncode == 2
    assert "add --bundle_root RELEASE" in lost.stderr.strip().splitlines()[-1]
    done = run("--bundle_root", str(unpacked))
    assert done.returncode == 0, done.stderr
    expected = Predictor.load(trained("ae"), device="cpu").predict(scan)
    for name, array in (("anomaly_map", expected.anomaly_map), ("anomaly_mask", expected.mask)):
        written = nib.load(next((tmp_path / "out").rglob(f"*_desc-{name}.nii.gz")))
        np.testing.assert_array_equal(np.asarray(written.dataobj), array)


def test_monai_checks_releases(run, release, repository, tmp_path, monkeypatch):
    """Metadata and network of every release; TorchScript of those whose network takes an image alone."""
    (tmp_path / "eval").mkdir()
    schema = shutil.copy(repository / "tests/bundles/meta_schema.json", tmp_path / "eval/schema.json")
    meta, config = str(release / "configs/metadata.json"), str(release / "configs/inference.json")
    monkeypatch.chdir(tmp_path)
    verify_metadata(meta_file=meta, filepath=str(schema))
    more = {"extra_forward_args": {"timesteps": torch.tensor([1])}} if run[0] == "pddpm" else {}
    verify_net_in_out(
        net_id="network_def", meta_file=meta, config_file=config, device="cpu", bundle_root=str(release), **more
    )
    weights = str(release / "models/model.pt")
    files = {"ckpt_file": weights, "meta_file": meta, "config_file": config, "bundle_root": str(release)}
    if run[0] == "pddpm":
        with pytest.raises(RuntimeError, match="spatialattention"):
            ckpt_export("network_def", "m.ts", **files)
        with pytest.raises(TypeError, match="timesteps"):
            ckpt_export("network_def", "m.ts", use_trace=True, **files)
        return
    ckpt_export("network_def", "m.ts", use_trace=True, **files)
    image = torch.rand(1, 1, *((96, 96, 50) if run[0] in ("atlas", "threshold") else (96, 96)))
    network = ModelFolder.read(release / "models").network()
    network.load_state_dict(read_state_dict(weights))
    torch.testing.assert_close(torch.jit.load("m.ts")(image), network.eval()(image))


def test_a_bundle_that_takes_no_scans_is_no_release(trained, tmp_path):
    (tmp_path / "bundle/configs").mkdir(parents=True)
    with pytest.raises(ConfigError, match="not a bundle that scans can be given to"):
        freeze_bundle(trained("threshold"), tmp_path / "release", tmp_path / "bundle")


def test_thresholding_of_a_scan_is_its_darkness(trained, tiny_cohort):
    result = Predictor.load(trained("threshold"), device="cpu").predict(
        tiny_cohort / "Test/demo_tumour/t1/P00_t1.nii.gz"
    )
    inside = result.pseudohealthy != 0
    brain = nib.load(tiny_cohort / "Test/demo_tumour/t1/P00_t1.nii.gz").get_fdata()[inside]
    assert result.pseudohealthy[inside].max() <= np.percentile(brain, 1.5)  # 0 on the scan's own scale
    assert inside.any()
    with pytest.raises(ConfigError, match="belong to the score darkness, not to intensity"):
        Predictor.load(trained("threshold"), score="intensity")


def test_bright_lesions_are_found_by_brightness(trained):
    metrics = json.loads((trained("threshold") / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    variants = metrics["datasets"]["demo_tumour"]["variants"]
    assert variants["intensity"]["operating_points"]["tuned"]["per_case"]["dice"]["mean"] > 0.5
    assert variants["darkness"]["pooled"]["average_precision"] < 0.1


def test_an_evaluation_on_a_part_of_the_scans_is_never_promoted(trained, work, tiny_cohort, repository):
    model = trained("threshold")
    before = (model / "model.json").read_bytes()
    overrides = {"dataset_dir": str(tiny_cohort), "cache_dir": str(work / "cache"), "model_dir": str(model), "limit": 1,
                 "output_dir": str(work / "trial"), "test_sets": ["demo_tumour"], "tracking_uri": None, "promote": True}  # fmt: skip
    with pytest.raises(UADError, match=r"trial .--limit 1."):
        _run([repository / "bundles/threshold_baseline/configs/evaluate.json"], "infer", "evaluating", overrides)
    assert (model / "model.json").read_bytes() == before
    assert (work / "trial" / "metrics.json").is_file()
    with pytest.raises(UADError, match="trial"):
        promote(model, work / "trial")


def test_a_model_of_another_bundle_is_one_sentence(trained, repository):
    overrides = {"model_dir": str(trained("threshold")), "input": "x"}
    with pytest.raises(
        UADError, match=r"holds a model of the bundle threshold_baseline .* use bundles/threshold_baseline, not ae"
    ):
        _run([repository / "bundles/ae_baseline/configs/inference.json"], "infer", "inference", overrides)


def _network(bundle, **knobs):
    parser = ConfigParser({"network_spec": f"%bundles/{bundle}/configs/model.json::network_spec", **knobs})
    return parser.get_parsed_content("network_spec")()


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
