# SPDX-License-Identifier: Apache-2.0
"""Affine registration of one pair of images by Mattes mutual information, with ITK's v4 framework.

The result depends on the two images and the settings alone: one work unit per metric, sampling with a fixed seed.
Source of the metric: Mattes et al., IEEE TMI 22(1), 2003.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..volumes.itk_images import Affine, from_itk_affine, itk_class, to_itk, to_itk_affine

BINS = 32
SEARCH_SHARE = 0.25
_SMALLEST_STEP_MM = 0.01


@dataclass(frozen=True, eq=False)
class ImagePair:
    """Two images, as ITK sees them.

    Args:
        fixed, moving: ``[X, Y, Z]`` float32.
        fixed_affine, moving_affine: voxels to world (RAS, mm).
        inside: voxels of ``fixed`` that count.

    >>> image = np.zeros((4, 4, 4), np.float32)
    >>> pair = ImagePair(image, np.diag([2.0, 2, 2, 1]), np.ones((4, 4, 4), bool), image, np.eye(4))
    >>> pair.centre_mm.tolist()
    [3.0, 3.0, 3.0]
    """

    fixed: NDArray[np.float32]
    fixed_affine: Affine
    inside: NDArray[np.bool_]
    moving: NDArray[np.float32]
    moving_affine: Affine

    @property
    def centre_mm(self) -> Affine:
        """Centre of the region that counts, in the fixed world: what matrices turn about."""
        return np.asarray(self.fixed_affine[:3, :3] @ np.argwhere(self.inside).mean(axis=0) + self.fixed_affine[:3, 3])


class AffineSearch:
    """Optimise affine maps (fixed world to moving world, RAS) of an image pair from given starts.

    Args:
        pair: what is registered.
        seed: of the sampling.
    """

    def __init__(self, pair: ImagePair, seed: int = 0) -> None:
        self._fixed = to_itk(pair.fixed.astype(np.float32), pair.fixed_affine)
        self._moving = to_itk(pair.moving.astype(np.float32), pair.moving_affine)
        self._mask = itk_class("ImageMaskSpatialObject", "3").New()
        self._mask.SetImage(to_itk(pair.inside.astype(np.uint8), pair.fixed_affine))
        self._mask.Update()
        self._centre = pair.centre_mm
        self._seed = seed

    def optimise(
        self, start: Affine, iterations: int, first_step_mm: float = 4.0, sampled_share: float = 1.0
    ) -> tuple[Affine, float]:
        """Return the best map found and its metric (negative mutual information, lower is better).

        ``sampled_share`` of the voxels in ``inside`` are read.
        """
        metric = self._metric()
        scales = itk_class("RegistrationParameterScalesFromPhysicalShift", "MMIITIMF3").New(Metric=metric)
        optimizer = itk_class("RegularStepGradientDescentOptimizerv4", "D").New(
            LearningRate=first_step_mm,
            MinimumStepLength=_SMALLEST_STEP_MM,
            RelaxationFactor=0.6,
            NumberOfIterations=iterations,
            GradientMagnitudeTolerance=1e-7,
            ReturnBestParametersAndValue=True,
            ScalesEstimator=scales,
            DoEstimateLearningRateOnce=False,
            DoEstimateLearningRateAtEachIteration=False,
        )
        method = itk_class("ImageRegistrationMethodv4", "REGv4F3F3").New(
            FixedImage=self._fixed,
            MovingImage=self._moving,
            Metric=metric,
            Optimizer=optimizer,
            InitialTransform=to_itk_affine(start, self._centre),
        )
        method.SetNumberOfLevels(1)
        method.SetShrinkFactorsPerLevel([1])
        method.SetSmoothingSigmasPerLevel([0])
        if sampled_share < 1:
            method.MetricSamplingReinitializeSeed(self._seed + 1)
            method.SetMetricSamplingStrategy(
                itk_class("ImageRegistrationMethodv4", "Enums").MetricSamplingStrategy_RANDOM
            )
            method.SetMetricSamplingPercentage(sampled_share)
        method.Update()
        found = method.GetTransform()
        return from_itk_affine(found), float(optimizer.GetCurrentMetricValue())

    def best_of(self, starts: Sequence[Affine], iterations: int) -> tuple[Affine, float]:
        """Return the best map found from several starts and its metric.

        Every start is pursued to its end: those that lead after a few iterations do not always win (a turned T1 head ended
        3 mm away instead of 1). A quarter of the voxels suffices for that (half the time); from the best, all of them are read.
        """
        found = [self.optimise(start, iterations, sampled_share=SEARCH_SHARE) for start in starts]
        best, _ = min(found, key=lambda one: one[1])
        return self.optimise(best, iterations)

    def _metric(self) -> Any:
        metric = itk_class("MattesMutualInformationImageToImageMetricv4", "IF3IF3").New()
        metric.SetNumberOfHistogramBins(BINS)
        metric.SetFixedImageMask(self._mask)
        metric.SetMaximumNumberOfWorkUnits(1)
        metric.SetUseMovingImageGradientFilter(False)
        metric.SetUseFixedImageGradientFilter(False)
        return metric
