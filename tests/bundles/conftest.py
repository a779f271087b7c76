# SPDX-License-Identifier: Apache-2.0
"""A cohort of crude heads in the papers' layout, small enough to train and evaluate every bundle within seconds."""

import csv

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

SHAPE = (96, 96, 50)


def _head(seed: int, lesion: bool):
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    a, b = 0.7 + 0.05 * rng.random(2)
    mask = (x / a) ** 2 + (y / b) ** 2 + (z / 0.95) ** 2 < 1
    texture = ndimage.gaussian_filter(
        rng.standard_normal(SHAPE), 4
    )  # no two heads alike: the gate would take them for one
    image = 0.5 + 0.12 * texture / texture.std() + 0.03 * rng.standard_normal(SHAPE)
    seg = np.zeros(SHAPE, bool)
    if lesion:
        centre = rng.uniform(-0.25, 0.25, 3)
        seg = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < 0.2**2
        image[seg] = 1.4
    return np.where(mask, image, 0).astype(np.float32), mask.astype(np.uint8), seg.astype(np.uint8)


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory):
    """Folder with the sets ``demo`` (healthy) and ``demo_tumour`` in T1 and T2."""
    root = tmp_path_factory.mktemp("tiny_cohort")
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    (root / "splits").mkdir()

    def write(folder, name, seed, lesion):
        image, mask, seg = _head(seed, lesion)
        files = {"t1": image, "t2": 1.2 * image * mask, "mask": mask} | ({"seg": seg} if lesion else {})
        for kind, array in files.items():
            (root / folder / kind).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine), root / folder / kind / f"{name}_{kind}.nii.gz")
        return {
            "img_name": f"{name}_t1.nii.gz", "age": 50, "label": int(lesion), "img_path": f"/{folder}/t1/{name}_t1.nii.gz",
            "mask_path": f"/{folder}/mask/{name}_mask.nii.gz", "seg_path": f"/{folder}/seg/{name}_seg.nii.gz" if lesion else "",
        }  # fmt: skip

    def split(file, rows):
        with open(root / "splits" / file, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    healthy = [write("Train/demo", f"H{i:02d}", i, False) for i in range(8)]
    for fold in range(2):
        val = healthy[2 * fold : 2 * fold + 2]
        split(f"demo_val_fold{fold}.csv", val)
        split(f"demo_train_fold{fold}.csv", [row for row in healthy[:6] if row not in val])
    split("demo_test.csv", healthy[6:])
    patients = [write("Test/demo_tumour", f"P{i:02d}", 100 + i, True) for i in range(4)]
    split("demo_tumour_val.csv", patients[:2])
    split("demo_tumour_test.csv", patients[2:])
    return root
