# SPDX-License-Identifier: Apache-2.0
"""Anomaly scores: ``score(image, reconstruction) -> anomaly_map``, all >= 0, larger = more anomalous.

In the place of a reconstruction, every score takes :class:`Reconstructions` too: several of them, or one with a mask.

Image and reconstruction are volumes ``[X, Y, Z]`` (axial = last axis) or batches ``[B, 1, X, Y, Z]`` with intensities
in [0, 1]; the map has the shape of the image. Every batch item is scored by itself (its own data range), so its map
does not depend, to the last bit, on what else is in the batch. Scores know no brain mask; post-processing applies it.
A score that needs more than the two volumes has ``bind(network)``, which returns such a callable, see :func:`bound`; one
that needs statistics of healthy scans is a :class:`HealthyRelative`, which evaluations fit.
"""

from typing import Any

from .healthy import HealthyRelative
from .healthy_statistics import HealthyStatistics, HealthySums
from .intensity import darkness, intensity
from .mahalanobis import MahalanobisDistance
from .product import Product
from .reconstructions import Reconstructions, as_reconstructions
from .residual import l1, l2
from .restoration import RestorationResidual, mask_probability
from .scan_relative import ScanRelative
from .ssim import SSIM, kernel_size, ssim_map
from .ssim_ensemble import SigmaSweep, SSIMEnsemble
from .standard import StandardScore

__all__ = [
    "SSIM",
    "HealthyRelative",
    "HealthyStatistics",
    "HealthySums",
    "MahalanobisDistance",
    "Product",
    "Reconstructions",
    "RestorationResidual",
    "SSIMEnsemble",
    "ScanRelative",
    "SigmaSweep",
    "StandardScore",
    "as_reconstructions",
    "bound",
    "darkness",
    "intensity",
    "kernel_size",
    "l1",
    "l2",
    "mask_probability",
    "ssim_map",
]


def bound(score: Any, network: Any) -> Any:
    """Return ``score`` as callable of image and reconstruction, with what it needs of the network of the model."""
    return score.bind(network) if hasattr(score, "bind") else score
