# SPDX-License-Identifier: Apache-2.0
"""Evaluation, ``run inference``, Predictor, release and MONAI Label give the same bits, whatever a model was trained with.

Every method meets several noises, preparations, grids and post-processings; nothing is trained, the weights are random.
"""

import json
from itertools import cycle

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from custom.core.description import describe
from custom.core.resources import resource, rooted
from custom.evaluation.spool import CaseInfo
from custom.models.weights import save_weights
from custom.prediction.predictor import Predictor
from custom.release.freeze import freeze_bundle
from custom.runs.model_folder import ModelFolder
from custom.scoring import Reconstructions
from tests.model_fixtures import CALIBRATION

UNET = {"channels": [32, 32], "num_res_blocks": 1, "num_head_channels": 32, "resblock_updown": False}
ENCODER = {
    "encoder_block": "basic",
    "encoder_layers": [1, 1, 1, 1],
    "encoder_widths": [16, 16, 16, 16],
    "condition_dim": 8,
}
BOXES = {"_target_": "custom.noise.GridPatches", "patch_px": 24}
METHODS = {  # method: bundle, settings of its training
    "ae": ("ae_baseline", {"latent_size": 8, "image_size": 48}),
    "vae": ("ae_baseline", {"latent_size": 8, "image_size": 48, "variational": True}),
    "dae": ("dae_baseline", {"channels": [8, 16]}),
    "ddpm": ("ddpm_ssim_ens", UNET),
    "pddpm": ("ddpm_ssim_ens", {**UNET, "patches": BOXES}),
    "anoddpm": ("ddpm_ssim_ens", {**UNET, "prediction_type": "epsilon", "num_train_timesteps": 8}),
    "cddpm": ("cddpm", {**UNET, **ENCODER}),
    "restoration": ("restoration", {"channels": [8, 8, 8]}),
    "atlas": ("atlas_baseline", {}),
    "threshold": ("threshold_baseline", {}),
}
NOISY = ["ddpm", "pddpm", "anoddpm", "cddpm"]
EVALUATION = {  # what else the promoted evaluation was asked for
    "ddpm": {"test_timesteps": [250, 500], "draws": 2}, "pddpm": {"test_timesteps": 300, "draws": 1}, "anoddpm": {"test_timesteps": 3, "chain_steps": 3},
    "cddpm": {"coherence_slices": 2},
}  # fmt: skip
NOISES = ["simplex", "gaussian", "simplex_isbi2024", "coarse", "simplex_unit_variance", "simplex_unit_variance_shared"]
PREPARATIONS = [
    {}, {"preset": "isbi2024"}, {"image_halving": "bspline"}, {"percentiles": [2.0, 98.0], "clip_and_mask": False},
    {"smoothing": "curvature_flow", "tissue": 0.6},
]  # fmt: skip
GRIDS = [{"shape": [48, 48, 25], "spacing_mm": 4.0}, {"shape": [48, 48, 20], "spacing_mm": 2.0}]
POSTPROCESSINGS = ["in_mm", "none", "isbi2024", "median_first", "no_erosion", "no_median", "no_components"]


def _variants():
    """Every method, those with noise twice; every noise, preparation, grid and post-processing comes up several times."""
    noises = cycle(NOISES)
    for number, method in enumerate([*METHODS, *NOISY]):
        preparation = {**PREPARATIONS[(number + number // len(METHODS)) % len(PREPARATIONS)], **GRIDS[number % 3 // 2]}
        yield pytest.param(
            method, next(noises) if method in NOISY else "coarse", preparation, POSTPROCESSINGS[number % len(POSTPROCESSINGS)],
            id=f"{method}-{number}",
        )  # fmt: skip


def _config(bundle, name, **changes):
    content = json.loads((resource(f"bundles/{bundle}") / "configs" / f"{name}.json").read_text(encoding="utf-8"))
    parser = ConfigParser(rooted(content))
    parser.update({key: rooted(value) for key, value in changes.items()})
    return parser


def _model(folder, method, noise, preparation, postprocessing):
    """Write the folder of a model with random weights, as training and a promoted evaluation would leave it."""
    bundle, settings = METHODS[method]
    training = _config(bundle, "train", **settings)
    changes = {"noise": f"%custom/configs/noise.json::{noise}", "volume_shape": preparation["shape"]}
    training.update({key: rooted(value) for key, value in changes.items() if key in training.get()})
    if "pretrained" in training.get():  # by no other scans
        training.update({"parts::pretraining": None})
    training["preparation"] = {"_target_": "custom.preparation.prepare.preparation", **preparation}
    parts = {name: training.get_parsed_content(f"parts::{name}") for name in training["parts"]}
    model = ModelFolder.define(
        folder, bundle=bundle, method=method, contrast="t1", dataset="demo", fold=1, seed=5, parts=parts
    )
    network = model.network()
    generator = torch.Generator().manual_seed(7)
    for _, tensor in sorted(network.state_dict(keep_vars=True).items()):
        if tensor.is_floating_point():  # untrained diffusion networks end in zeros, which would hide the noise
            tensor.detach().copy_(0.1 * torch.rand(tensor.shape, generator=generator) + 0.01)
    save_weights(network, folder / "model.safetensors", {})
    model = model.seal()
    evaluation = _config(bundle, "evaluate", model_dir=str(folder), **EVALUATION.get(method, {}))
    evaluation.update({name: False for name in ("sigma_sweep",) if name in evaluation.get()})
    score = evaluation.get_parsed_content("primary")
    chains = {**evaluation.get_parsed_content("postprocessings"), **_postprocessings()}
    model.promote(CALIBRATION | {
        "weights_sha256": model.weights_sha256, "spacing_mm": [preparation["spacing_mm"]] * 3, "score": score,
        "scoring": describe(evaluation.get_parsed_content("all_scores")[score]), "postprocessing": describe(chains[postprocessing]),
        "reconstruction": evaluation.get_parsed_content("reconstruction_settings"),
    })  # fmt: skip
    scores = evaluation.get()["scores"]
    return bundle, {"primary": score, **({"scores": {score: scores[score]}} if score in scores else {})}


def _postprocessings():
    parser = ConfigParser(json.loads(resource("custom/configs/protocol.json").read_text(encoding="utf-8")))
    return {
        **parser.get_parsed_content("postprocessing_ablation"),
        **parser.get_parsed_content("postprocessing_isbi2024"),
    }


@pytest.mark.parametrize(("method", "noise", "preparation", "postprocessing"), list(_variants()))
def test_every_way_to_a_map_gives_the_same_bits(
    method, noise, preparation, postprocessing, tiny_cohort, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    bundle, asked = _model(folder, method, noise, preparation, postprocessing)
    scan, mask = (tiny_cohort / f"Test/demo_tumour/{kind}/P02_{kind}.nii.gz" for kind in ("t1", "mask"))
    expected = Predictor.load(folder, device="cpu", noise_key="P02").predict(scan, mask)
    assert expected.anomaly_map.any()

    inference = _config(
        bundle, "inference", model_dir=str(folder), input=str(scan), mask=str(mask), output_dir=str(tmp_path / "out"),
        device="cpu", report=False, noise_key="P02",
    )  # fmt: skip
    inference.get_parsed_content("inference")
    for role, name in {
        "anomaly_map": "anomaly_map",
        "mask": "anomaly_mask",
        "pseudohealthy": "pseudohealthy_T1w",
    }.items():
        written = nib.load(next((tmp_path / "out").rglob(f"*_desc-{name}.nii.gz")))
        np.testing.assert_array_equal(np.asarray(written.dataobj), expected.images()[role])

    evaluation = _config(
        bundle, "evaluate", model_dir=str(folder), dataset_dir=str(tiny_cohort), output_dir=str(tmp_path / "evaluation"),
        cache_dir=str(tmp_path / "cache"), device="cpu", test_sets=["demo_tumour"], **EVALUATION.get(method, {}), **asked,
    )  # fmt: skip
    if "sigma_sweep" in evaluation.get():
        evaluation.update({"sigma_sweep": False})
    evaluation["postprocessings"] = {"chosen": "$@model_postprocessing"}
    evaluation["model_postprocessing"] = "$calibrated"
    evaluation.globals["calibrated"] = _postprocessings().get(postprocessing)
    case = next(c for c in evaluation.get_parsed_content("dataset") if c["case_id"] == "P02")
    network, collector = (evaluation.get_parsed_content(key) for key in ("network", "collector"))
    np.testing.assert_array_equal(case["image"][0].numpy(), expected.grid["image"])
    inferer = evaluation.get_parsed_content("inferer")
    channels = inferer(case["image"][None], network, ["P02"])[0]
    reconstruction = Reconstructions.from_channels(channels, getattr(inferer, "has_mask_channel", False))
    collector.add(
        CaseInfo("P02", "demo_tumour/test", 1), case["image"][0], reconstruction, case["mask"][0], case["seg"][0]
    )
    np.testing.assert_array_equal(collector.volume(collector.cases[0], asked["primary"]), expected.grid["map"])

    release = freeze_bundle(folder, tmp_path / "release")
    released = Predictor.load(release, device="cpu", noise_key="P02").predict(scan, mask)
    np.testing.assert_array_equal(released.anomaly_map, expected.anomaly_map)

    parser = ConfigParser(json.loads((release / "configs/inference.json").read_text(encoding="utf-8")))
    # as Label's BundleInferTask does; the device comes with a request, so nothing that Label builds may ask for it
    parser.config.update(bundle_root=str(release), device="$1 / 0", noise_key="P02")
    label_network = parser.get_parsed_content("network_def")
    label_network.load_state_dict(torch.load(release / "models/model.pt", weights_only=True), strict=False)
    data = {"image": str(scan), "mask": str(mask), "case_id": "P02"}
    for transform in parser.get_parsed_content("preprocessing").transforms:
        data = transform(data)
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], label_network.eval())[0]
    for transform in parser.get_parsed_content("postprocessing").transforms:
        data = transform(data)
    np.testing.assert_array_equal(data["anomaly_map"].numpy()[0], expected.anomaly_map)
    np.testing.assert_array_equal(data["pred"].numpy()[0], expected.mask)
