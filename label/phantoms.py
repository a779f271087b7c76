# SPDX-License-Identifier: Apache-2.0
"""Asymmetric phantoms on three grids, and models that find their marker: what the check of a label server needs.

A brain-sized ellipsoid (1.3 l) carries one bright ball of 16 mm radius on the left, in front, above. A model's network is
tiny and random (the atlas: mean 0, deviation 1); its score is the scan's own brightness, so the mask is known in advance and
any flip, shift or wrong axis on the way through the server shows.
"""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray

from custom.core.description import describe
from custom.core.files import read_json
from custom.core.resources import bundle_folder, rooted
from custom.models.voxel_atlas import VoxelAtlas
from custom.models.weights import save_weights
from custom.postprocessing import in_mm
from custom.runs.model_folder import WEIGHTS, ModelFolder
from custom.scoring import StandardScore, intensity

MARKER_MM = np.array([-26.0, 30.0, 20.0])
RADIUS_MM = 16.0
THRESHOLDS = {"healthy_fpr_0.01": 0.7, "healthy_fpr_0.05": 0.5}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {  # bundle, and settings of a small network
    "ddpm_ssim_ens": (
        "ddpm_ssim_ens",
        {"channels": [32, 32], "num_res_blocks": 1, "num_head_channels": 32, "resblock_updown": False},
    ),
    "cddpm": (
        "cddpm",
        {
            **{"channels": [32, 32], "num_res_blocks": 1, "num_head_channels": 32, "resblock_updown": False},
            **{"encoder_block": "basic", "encoder_layers": [1, 1, 1, 1], "encoder_widths": [8, 16, 16, 16]},
        },
    ),
    "restoration": ("restoration", {"channels": [8, 8, 16]}),
    "ae": ("ae_baseline", {"latent_size": 8}),
    "dae": ("dae_baseline", {"channels": [8, 16]}),
    "atlas": ("atlas_baseline", {}),
    "threshold": ("threshold_baseline", {}),
}
_AXES_MM = np.array([62.0, 80.0, 62.0])


def write_phantoms(folder: str | Path) -> dict[str, Path]:
    """Write ``las``, ``oblique`` and ``anisotropic`` and return their paths by name."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    turn = _rotation(2, 20.0) @ _rotation(0, 10.0)
    grids = {
        "las": (np.diag([-2.0, 2.0, 2.0]), (70, 90, 70)),
        "oblique": (turn @ np.diag([2.0, 2.0, 2.5]), (84, 96, 66)),
        "anisotropic": (np.diag([1.2, 1.2, 4.0]), (112, 144, 36)),
    }
    return {name: _write(folder / f"{name}.nii.gz", matrix, shape) for name, (matrix, shape) in grids.items()}


def write_marker_model(folder: str | Path, seed: int = 0, method: str = "ddpm_ssim_ens") -> Path:
    """Write the folder of a trained and calibrated model whose score is the scan's brightness; return it.

    Args:
        folder: of the model.
        seed: of the random weights.
        method: one of :data:`METHODS`.
    """
    folder = Path(folder)
    bundle, settings = METHODS[method]
    config = read_json(bundle_folder(bundle) / "configs" / "train.json", "copy the package again.")
    config.get("pretrained", {})["cases"] = []  # no scan trained these
    parser = ConfigParser({**rooted(config), **settings})
    identity = {"bundle": bundle, "method": method, "contrast": "t1", "dataset": "phantom", "fold": 0, "seed": 1}
    model = ModelFolder.define(folder, parts=parser.get_parsed_content("parts"), **identity)  # type: ignore[arg-type]
    network = model.network()
    if isinstance(network, VoxelAtlas):
        network.deviation.fill_(1.0)
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05, generator=generator)
    save_weights(network, folder / WEIGHTS, {})
    model = model.seal()
    atlas = method == "atlas"
    model.promote(
        {
            "score": "zscore" if atlas else "intensity",
            "scoring": describe(StandardScore(0.05) if atlas else intensity),
            "postprocessing": describe(in_mm()),
            "spacing_mm": [2.0, 2.0, 2.0],
            "thresholds": {name: {"value": value, "source": "phantom"} for name, value in THRESHOLDS.items()},
            "healthy_quantiles": {"levels": [0.0, 0.95, 0.99, 1.0], "scores": [0.0, 0.5, 0.7, 1.0]},
            "reconstruction": {},
            "weights_sha256": model.weights_sha256,
            "trial": None,
        }
    )
    return folder


def _write(path: Path, matrix: NDArray[np.float64], shape: tuple[int, int, int]) -> Path:
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = -matrix @ ((np.array(shape) - 1) / 2) + [1.0, -2.0, 3.0]
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    world = np.einsum("ij,jxyz->ixyz", matrix, index) + affine[:3, 3][:, None, None, None]
    brain = ((world / _AXES_MM[:, None, None, None]) ** 2).sum(0) < 1
    distance = np.sqrt(((world - MARKER_MM[:, None, None, None]) ** 2).sum(0))
    texture = 1 + 0.2 * np.sin(world[0] / 25) + 0.1 * np.cos(world[1] / 30)
    image = np.where(distance < RADIUS_MM, 3.0, texture) * brain
    scan = nib.Nifti1Image((100 * image).astype(np.float32), affine)
    scan.set_sform(affine, 1)
    scan.set_qform(affine, 1)
    nib.save(scan, path)
    return path


def _rotation(axis: int, degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.eye(3)
    first, second = [k for k in range(3) if k != axis]
    turn[[first, first, second, second], [first, second, first, second]] = [c, -s, s, c]
    return turn
