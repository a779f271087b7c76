# SPDX-License-Identifier: Apache-2.0
"""The networks of the timings, with random weights, and noise and scheduler as the bundle has them."""

import json
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import DiffusionModelUNet

from custom.models.noise_scheduler import NoiseDDPMScheduler
from custom.noise import SimplexNoise

CONFIGS = Path(__file__).resolve().parents[1] / "bundles" / "ddpm_ssim_ens" / "configs"
TINY = {"channels": [32, 32], "num_res_blocks": 1, "num_head_channels": 32, "resblock_updown": False}


def settings(size: str) -> dict[str, Any]:
    """Return the settings of the network ``"full"`` (the papers'), ``"small"`` (small.json) or ``"tiny"`` (tests)."""
    keys = ("channels", "num_res_blocks", "num_head_channels", "resblock_updown")
    if size == "tiny":
        return TINY
    config = json.loads((CONFIGS / "train.json").read_text(encoding="utf-8"))
    if size == "small":
        config |= json.loads((CONFIGS / "small.json").read_text(encoding="utf-8"))
    return {key: config[key] for key in keys}


def network(size: str, seed: int = 0) -> DiffusionModelUNet:
    """Return the network with random weights; none of them zero, as some are after MONAI's initialisation."""
    torch.manual_seed(seed)
    chosen = settings(size)
    net = DiffusionModelUNet(
        spatial_dims=2, in_channels=1, out_channels=1, attention_levels=[False] * len(chosen["channels"]), norm_num_groups=32, **chosen
    )  # fmt: skip
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return net


def noise() -> SimplexNoise:
    """Return the noise of the main method."""
    return SimplexNoise(6, 0.8, 64, normalize=False, per_sample=True, random_origin=True)


def scheduler(schedule: str = "cosine_float64") -> NoiseDDPMScheduler:
    """Return the scheduler of the main method."""
    return NoiseDDPMScheduler(noise(), 1000, schedule, "sample")
