# SPDX-License-Identifier: Apache-2.0
"""Generated volumes for timings: smooth tissue in an ellipsoid, a blurred reconstruction of it, a lesion."""

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

WORKING_GRID = (96, 96, 50)


def head(seed: int, shape: tuple[int, int, int] = WORKING_GRID) -> tuple[torch.Tensor, ...]:
    """Return image and reconstruction in [0, 1] (float32), brain mask and lesion (bool), each ``[X, Y, Z]``."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    mask = (axes[0] / 0.75) ** 2 + (axes[1] / 0.75) ** 2 + (axes[2] / 0.9) ** 2 < 1
    tissue = ndimage.gaussian_filter(rng.standard_normal(shape), 2.5)
    image = np.clip(0.45 + 0.12 * tissue / tissue.std() + 0.02 * rng.standard_normal(shape), 0, 1)
    centre = rng.uniform(-0.3, 0.3, 3)
    lesion = sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)) < rng.uniform(0.1, 0.3) ** 2
    reconstruction = ndimage.gaussian_filter(image, 0.8) * mask
    image = np.clip(np.where(lesion, image + 0.35, image), 0, 1) * mask
    arrays = image.astype(np.float32), reconstruction.astype(np.float32), mask, lesion & mask
    return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)


def write_scans(folder: Path, count: int, shape: tuple[int, int, int] = (192, 192, 100)) -> list[dict[str, str]]:
    """Write ``count`` scans at 1 mm with masks as ``.nii.gz`` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    scans = []
    for number in range(count):
        image, _, mask, _ = head(number, shape)
        paths = {kind: str(folder / f"scan{number:03d}_{kind}.nii.gz") for kind in ("image", "mask")}
        nib.save(nib.Nifti1Image((1000 * image.numpy()).astype(np.int16), np.eye(4)), paths["image"])
        nib.save(nib.Nifti1Image(mask.numpy().astype(np.uint8), np.eye(4)), paths["mask"])
        scans.append(paths)
    return scans
