# SPDX-License-Identifier: Apache-2.0
"""Folders of trained and calibrated models without training."""

import functools
from pathlib import Path
from typing import Any

import torch

from custom.core.description import describe
from custom.models.weights import save_weights
from custom.postprocessing import in_mm
from custom.preparation.prepare import preparation
from custom.runs.model_folder import ModelFolder
from custom.scoring import l1

CALIBRATION: dict[str, Any] = {
    "score": "l1",
    "scoring": describe(l1),
    "postprocessing": describe(in_mm()),
    "spacing_mm": [2.0, 2.0, 2.0],
    "thresholds": {
        "healthy_fpr_0.01": {"value": 0.15, "source": "exceeded by 1 % of the voxels of healthy brains"},
        "healthy_fpr_0.05": {"value": 0.1, "source": "exceeded by 5 % of the voxels of healthy brains"},
    },
    "healthy_quantiles": {"levels": [0.0, 0.9, 0.95, 0.99, 1.0], "scores": [0.0, 0.08, 0.1, 0.15, 0.5]},
    "trial": None,
}


def model_folder(folder: Path, parts: dict[str, Any], network: torch.nn.Module, **calibration: Any) -> ModelFolder:
    """Write a calibrated model of the given parts and weights."""
    bundle = calibration.pop("bundle", "ae_baseline")
    model = ModelFolder.define(
        folder, bundle=bundle, method=bundle, contrast="t1", dataset="ixi", fold=0, seed=1,
        parts={"preparation": preparation("standard"), **parts},
    )  # fmt: skip
    save_weights(network, folder / "model.safetensors", {})
    model = model.seal()
    return model.promote({**CALIBRATION, "weights_sha256": model.weights_sha256, **calibration})


def blurring_model(folder: Path, **calibration: Any) -> Path:
    """A model of the autoencoder's bundle whose network is a mean filter: maps are the scan minus its blurred self."""
    spec = functools.partial(torch.nn.Conv2d, in_channels=1, out_channels=1, kernel_size=9, padding=4)
    network = spec()
    torch.nn.init.constant_(network.weight, 1 / 81)
    torch.nn.init.zeros_(network.bias)
    parts = {"network": spec, "preparation": calibration.pop("preparation", preparation("standard"))}
    model_folder(folder, parts, network, **calibration)
    return folder
