# SPDX-License-Identifier: Apache-2.0
"""A made head as a scanner gives it: the packaged average brain in fluid, skull, scalp and eyes, voxels of 2 x 2 x 3 mm."""

import numpy as np
from scipy import ndimage

from custom.volumes.packaged_template import brain_template
from custom.volumes.resampling import resample

SPACING_MM = (2.0, 2.0, 3.0)


def raw_head(matrix: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return T2-like image, true brain mask and affine; ``matrix`` leads from template space to the scan's world."""
    template = brain_template()
    pad = [(12, 12), (12, 12), (24, 24)]
    brain = np.pad(template.mask, pad)
    grey, white = (np.pad(tissue, pad) for tissue in (template.grey, template.white))
    fine = template.affine.copy()
    fine[:3, 3] -= template.affine[:3, :3] @ [12, 12, 24]
    outside = 2 * ndimage.distance_transform_edt(~brain)
    head = np.where(brain, 60 * white + 100 * grey + 200 * np.clip(1 - grey - white, 0, 1), 0.0)
    head = np.where((outside > 0) & (outside <= 3), 200, head)
    head = np.where((outside > 3) & (outside <= 9), 12, head)
    head = np.where((outside > 9) & (outside <= 15), 130, head)
    x, y, z = (
        fine[a, 3] + 2 * np.arange(n).reshape([-1 if b == a else 1 for b in range(3)]) for a, n in enumerate(head.shape)
    )
    for side in (-30, 30):
        head = np.where((x - side) ** 2 + (y - 62) ** 2 + (z + 32) ** 2 < 12**2, 220, head)
    grid = np.diag([*SPACING_MM, 1.0])
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in head.shape])).reshape(3, -1)
    moved = matrix @ fine
    world = moved[:3, :3] @ corners + moved[:3, 3:]
    grid[:3, 3] = world.min(axis=1)
    shape = np.ceil((world.max(axis=1) - world.min(axis=1)) / SPACING_MM).astype(int)
    image = resample(head.astype(np.float32), moved, grid, shape.tolist())
    mask = resample(brain.astype(np.float32), moved, grid, shape.tolist()) > 0.5
    noise = np.random.default_rng(seed).normal(0, 4, image.shape)
    return np.abs(image + noise).astype(np.float32), mask, grid
