# SPDX-License-Identifier: Apache-2.0
"""Mahalanobis distance of a slice to the cloud of its n reconstructions (Behrendt et al., arXiv 2407.12474).

The n reconstructions of a slice, each a vector of m pixels, have mean μ and covariance Σ = AᵀA + ε I, where A is the
``[n, m]`` matrix of their deviations from μ divided by √(n - 1), of rank n - 1. The paper's map is the pixel-wise share
of the squared distance of the slice x, here with d = x - μ::

    score = |d ⊙ Σ⁻¹ d|,    Σ⁻¹ d = (d - Aᵀ (ε I + A Aᵀ)⁻¹ A d) / ε        (Woodbury identity)

so one n x n system per slice is solved instead of an m x m one (9216 x 9216 at 96 x 96 pixels); a test holds the two
together to 1e-8. Its sum over a slice is, where no term is negative, the squared Mahalanobis distance. Differences to
the paper: ε is a variance that is given (in squared intensities), not chosen by a library; the region is the whole slice.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import ConfigError, DataError
from .reconstructions import Reconstructions, as_reconstructions
from .residual import check_pair


@dataclass(frozen=True)
class MahalanobisDistance:
    """Scoring callable over several reconstructions; dimensionless.

    Attributes:
        variance: ε > 0, variance in squared intensities that every pixel has beside what the reconstructions show.

    >>> image, drawn = torch.zeros(4, 4, 4), Reconstructions(torch.zeros(2, 4, 4, 4))
    >>> float(MahalanobisDistance()(image, drawn).max())
    0.0
    """

    variance: float = 1e-3

    def __post_init__(self) -> None:
        if not self.variance > 0:
            raise ConfigError(f"the variance of the Mahalanobis distance must be positive, got {self.variance}.")

    @torch.no_grad()
    def __call__(self, image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
        """Return the map in the shape of ``image`` ``[X, Y, Z]``; slices along the last axis are treated one by one.

        Raises:
            DataError: fewer than two reconstructions.
        """
        image, mean = check_pair(image, reconstruction)
        volumes = as_reconstructions(reconstruction).volumes
        n = len(volumes)
        if n < 2:
            raise DataError(
                f"the Mahalanobis distance needs 2 or more reconstructions of a scan, got {n}; let the method draw "
                "several (draws, severities), or take another score."
            )
        shape = mean.shape
        deviations = (volumes.double() - mean.double()).reshape(n, -1, shape[-1]).permute(2, 0, 1) / (n - 1) ** 0.5
        residual = (image.double() - mean.double()).reshape(-1, shape[-1]).T[..., None]  # [Z, m, 1]
        small = deviations @ deviations.mT + self.variance * torch.eye(n, dtype=torch.float64, device=image.device)
        inner = torch.linalg.solve(small, deviations @ residual)
        solved = (residual - deviations.mT @ inner) / self.variance
        shares: Tensor = (residual * solved).abs()[..., 0].T
        return shares.reshape(image.shape).to(image.dtype)
