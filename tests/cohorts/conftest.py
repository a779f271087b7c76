# SPDX-License-Identifier: Apache-2.0
"""Tiny data roots in the papers' layout, written as real NIfTI files."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

HEADER = ",img_name,age,sex,label,img_path,mask_path,seg_path"
MakeRoot = Callable[..., Path]


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 2, 1]) if affine is None else affine), path)
    return path


def brain(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid with a gradient and noise, zero outside, and its mask."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    mask = (sum(a**2 for a in axes) < 0.8).astype(np.uint8)
    noise = np.random.default_rng(seed).normal(0, 5, shape)
    return ((100 + 20 * axes[0] + noise) * mask).astype(np.float32), mask


def rows(dataset_folder: str, names: list[str], label: int) -> str:
    lines = [HEADER]
    for i, name in enumerate(names):
        seg = f"/{dataset_folder}/seg/{name}_seg.nii.gz" if label else ""
        image, mask = f"/{dataset_folder}/t1/{name}_t1.nii.gz", f"/{dataset_folder}/mask/{name}_mask.nii.gz"
        lines.append(f"{i},{name}_t1.nii.gz,{30 + i},F,{label},{image},{mask},{seg}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def make_root(tmp_path: Path) -> MakeRoot:
    """``make_root(train=[...], patients=[...])``: IXI scans with fold 0 lists and MSLUB patients at 2 mm."""

    def build(
        train: list[str],
        val: list[str] | None = None,
        patients: list[str] | None = None,
        shape=(24, 24, 12),
        contrasts=("t1",),
    ) -> Path:
        root = tmp_path / "t1_root"
        splits = root / "splits"
        splits.mkdir(parents=True)
        for number, name in enumerate([*train, *(val or []), *(patients or [])]):
            folder = root / ("Test/MSLUB" if name in (patients or []) else "Train/ixi")
            image, mask = brain(shape, number)
            seg = np.zeros_like(mask)
            if name in (patients or []):
                seg[8:14, 8:14, 4:8] = 1
                image = image + 60 * seg
                save(folder / "seg" / f"{name}_seg.nii.gz", seg)
            for contrast in contrasts:
                save(folder / contrast / f"{name}_{contrast}.nii.gz", image)
            save(folder / "mask" / f"{name}_mask.nii.gz", mask)
        (splits / "IXI_train_fold0.csv").write_text(rows("Train/ixi", train, 0))
        if val:
            (splits / "IXI_val_fold0.csv").write_text(rows("Train/ixi", val, 0))
        if patients:
            (splits / "MSLUB_val.csv").write_text(rows("Test/MSLUB", patients, 1))
        return root

    return build
