# SPDX-License-Identifier: Apache-2.0
"""How a trained network is applied: one training prediction, and the reconstruction of a whole volume."""

from .anomaly import AnomalyInferer
from .cached import CachedReconstruction
from .partial_diffusion import PartialDiffusionInferer
from .precision import Precision
from .slicewise import SlicewiseReconstruction
from .training import DiffusionTrainingInferer, PlainTrainingInferer

__all__ = [
    "AnomalyInferer",
    "CachedReconstruction",
    "DiffusionTrainingInferer",
    "PartialDiffusionInferer",
    "PlainTrainingInferer",
    "Precision",
    "SlicewiseReconstruction",
]
