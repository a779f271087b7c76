# SPDX-License-Identifier: Apache-2.0
"""Bias field correction by N4 (Tustison et al., IEEE TMI 29(6), 2010), with ITK.

The field is estimated at 4 mm inside the brain and evaluated on the scan's own grid, where the scan is divided by it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..volumes.itk_images import from_itk, itk_class, to_itk
from ..volumes.resampling import Affine, Floats, resample
from .subject import Subject

RECORD = "bias_field"
STEP_MM = 4.0
_MARGIN_VOXELS = 3


@dataclass(frozen=True)
class CorrectBias:
    """Divide a scan whose brain was extracted here by its estimated bias field; others, as the papers' data, are corrected already.

    Attributes:
        iterations: of each of the fitting levels, coarse to fine.
        control_points: of the B-spline at the first level, along each axis.

    >>> image, mask = np.ones((4, 4, 4), np.float32), np.ones((4, 4, 4), np.uint8)
    >>> subject = Subject("case1", image, np.eye(4), mask=mask)  # comes with a mask: corrected already
    >>> CorrectBias()(subject) is subject
    True
    """

    iterations: tuple[int, ...] = (50, 50, 30)
    control_points: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "iterations", tuple(int(n) for n in self.iterations))

    def __call__(self, subject: Subject) -> Subject:
        """Return the subject with a corrected image; the spread of the field stands in its record."""
        raw = "weights_sha256" in subject.record.get("brain_extraction", {})
        if subject.mask is None or not raw:
            return subject
        field = bias_field(subject.image, subject.mask, subject.affine, self.iterations, self.control_points)
        spread = float(np.log(field[subject.mask > 0]).std())
        image = (subject.image / field).astype(np.float32)
        return subject.replaced(image=image).recorded(RECORD, {"log_sd": round(spread, 4)})


def bias_field(
    image: Floats, mask: NDArray[np.uint8], affine: Affine, iterations: tuple[int, ...], control_points: int = 4
) -> Floats:
    """Return the field on the scan's grid: mean 1 (in logarithms) inside the brain, above 0 everywhere."""
    coarse, brain, grid = _at_step(image, mask, affine)
    filter_ = itk_class("N4BiasFieldCorrectionImageFilter", "IF3IUC3IF3").New()
    filter_.SetInput(to_itk(np.maximum(coarse, 1e-3 * float(coarse.max())), grid))
    filter_.SetMaskImage(to_itk(brain.astype(np.uint8), grid))
    filter_.SetNumberOfFittingLevels(len(iterations))
    filter_.SetMaximumNumberOfIterations(list(iterations))
    filter_.SetNumberOfControlPoints([control_points] * 3)
    filter_.SetConvergenceThreshold(1e-3)
    filter_.SetNumberOfWorkUnits(1)
    filter_.Update()
    corrected = from_itk(filter_.GetOutput())
    logarithm = np.log(np.maximum(coarse, 1e-3 * float(coarse.max()))) - np.log(np.maximum(corrected, 1e-12))
    logarithm = np.where(brain, logarithm - logarithm[brain].mean(), 0).astype(np.float32)
    weight = resample(brain.astype(np.float32), grid, affine, image.shape, antialias=False)
    fine = resample(logarithm, grid, affine, image.shape, antialias=False)
    return np.exp(np.where(weight > 0.05, fine / np.maximum(weight, 0.05), 0)).astype(np.float32)


def _at_step(image: Floats, mask: NDArray[np.uint8], affine: Affine) -> tuple[Floats, NDArray[np.bool_], Affine]:
    """Return the box of the brain with voxels of 4 mm, averaged over the brain only."""
    places = np.argwhere(mask > 0)
    corners = np.array(np.meshgrid(*zip(places.min(axis=0), places.max(axis=0), strict=True))).reshape(3, -1)
    world = affine[:3, :3] @ corners + affine[:3, 3:]
    grid = np.diag([STEP_MM] * 3 + [1.0])
    grid[:3, 3] = world.min(axis=1) - _MARGIN_VOXELS * STEP_MM
    shape = np.ceil((world.max(axis=1) - grid[:3, 3]) / STEP_MM).astype(int) + _MARGIN_VOXELS
    weight = resample((mask > 0).astype(np.float32), affine, grid, shape.tolist())
    total = resample(np.where(mask > 0, image, 0).astype(np.float32), affine, grid, shape.tolist())
    brain = weight > 0.5
    return np.where(brain, total / np.maximum(weight, 0.5), 0).astype(np.float32), brain, grid
