# SPDX-License-Identifier: Apache-2.0
"""From the scan's voxels to those of the model's grid: as they are, halved, or interpolated."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..core.errors import ConfigError, DataError
from ..volumes.grid import halve_bspline, halve_majority, halve_mean, halve_nearest_upper
from ..volumes.resampling import resample
from .intensity import brain_on_grid
from .subject import Subject, TargetGrid

_CHOICES = {"image_halving": ("mean", "bspline"), "label_halving": ("majority", "nearest_upper")}


@dataclass(frozen=True)
class ToGrid:
    """Bring image and labels to the grid that the field of view has chosen.

    Attributes:
        image_halving: "mean" of the 2x2x2 cell, or "bspline": cubic B-spline at its centre, without anti-aliasing.
        label_halving: "majority" (at least four of the eight voxels of the cell), or "nearest_upper": its last voxel, half a source voxel off the image.

    >>> image, mask = np.arange(64, dtype=np.float32).reshape(4, 4, 4), np.ones((4, 4, 4), np.uint8)
    >>> grid = TargetGrid((2, 2, 2), np.diag([2.0, 2, 2, 1]), factor=2)
    >>> subject = ToGrid()(Subject("case1", image, np.eye(4), mask=mask, grid=grid))
    >>> subject.image.shape, float(subject.image[0, 0, 0])
    ((2, 2, 2), 10.5)
    """

    image_halving: Literal["mean", "bspline"] = "mean"
    label_halving: Literal["majority", "nearest_upper"] = "majority"

    def __post_init__(self) -> None:
        for key, choices in _CHOICES.items():
            if getattr(self, key) not in choices:
                raise ConfigError(f"preparation: {key} must be one of {choices}, got {getattr(self, key)!r}")

    def __call__(self, subject: Subject) -> Subject:
        """Return the subject on the grid."""
        grid = subject.grid
        if grid is None:
            raise ValueError("no field of view yet: put FieldOfView before this step")
        if grid.factor is None:
            subject = _interpolated(subject, grid)
        elif grid.factor == 2:
            shrink = halve_majority if self.label_halving == "majority" else halve_nearest_upper
            halve = halve_mean if self.image_halving == "mean" else halve_bspline
            subject = subject.replaced(image=halve(subject.image), **subject.labels(shrink))
        if not subject.brain.any():
            raise DataError(
                f"the brain mask is empty on the model's grid {grid.shape}: the brain is too small or lies outside it; "
                "check the mask file",
                case=subject.case,
            )
        return subject.replaced(affine=grid.affine, grid=None)


@dataclass(frozen=True)
class ClipAndMask:
    """Clip the image to [0, 1], which a B-spline leaves, and set it to 0 outside the brain.

    >>> image, mask = np.array([[[-0.1, 0.5, 1.2, 0.5]]], np.float32), np.array([[[1, 1, 1, 0]]], np.uint8)
    >>> ClipAndMask()(Subject("case1", image, np.eye(4), mask=mask)).image.ravel().tolist()
    [0.0, 0.5, 1.0, 0.0]
    """

    def __call__(self, subject: Subject) -> Subject:
        """Return the subject with an image in [0, 1] that is zero outside the brain."""
        return subject.replaced(image=np.asarray(np.clip(subject.image, 0, 1) * subject.brain, dtype=np.float32))


def _interpolated(subject: Subject, grid: TargetGrid) -> Subject:
    """Interpolate the brain alone, so that nothing around it (a skull) is mixed into its edge."""
    if subject.is_flat:
        inside = (resample(subject.brain, subject.affine, grid.affine, grid.shape) > 0.5).astype(np.uint8)
        image = resample(subject.image * subject.brain, subject.affine, grid.affine, grid.shape)
    else:
        image, inside = brain_on_grid(subject.image, subject.brain, subject.affine, grid)
    image = np.clip(image, 0, 1) * inside
    truth = subject.truth_mask
    if truth is not None:
        truth = (resample(truth, subject.affine, grid.affine, grid.shape) > 0.5).astype(np.uint8)
    return subject.replaced(image=image.astype(np.float32), mask=inside, truth_mask=truth)
