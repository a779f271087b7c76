# SPDX-License-Identifier: Apache-2.0
"""Mean and standard deviation of the healthy training scans, voxel by voxel: a model without a network.

What a healthy brain looks like at a place of the common grid is its mean over the training scans; how far a scan may
be from it is their standard deviation (n - 1). Saase et al., "Simple statistical methods for unsupervised brain
anomaly detection on MRI are competitive to deep learning methods", arXiv 2011.12735, found such maps on a par with
autoencoders. Differences to it: no covariance between voxels, and the scans are only as well aligned as the data sets'
registration to the atlas makes them.

Volumes are ``[..., X, Y, Z]`` in [0, 1] with background 0; background counts, so that the cortex, whose place varies,
gets a large deviation.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError, DataError


class VoxelAtlas(nn.Module):
    """Two maps in the place of a network; saved and loaded as one.

    Args:
        shape: voxels of the working grid.

    >>> atlas = VoxelAtlas((2, 2, 2)).fit([torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2)])
    >>> float(atlas.mean.max()), round(float(atlas.deviation.max()), 4)
    (0.5, 0.7071)
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tuple(shape)))
        self.register_buffer("deviation", torch.zeros(tuple(shape)))

    def forward(self, volumes: Tensor) -> Tensor:
        """Return the mean map for each of ``volumes`` ``[B, 1, X, Y, Z]``: the reconstruction."""
        if volumes.shape[-3:] != self.mean.shape:
            raise ConfigError(
                f"the atlas has {tuple(self.mean.shape)} voxels and the scan {tuple(volumes.shape[-3:])}; prepare the scan "
                "on the working grid, or fit another atlas."
            )
        return self.mean.to(volumes.dtype).expand_as(volumes).clone()

    def fit(self, volumes: Iterable[Tensor]) -> "VoxelAtlas":
        """Set the maps to those of ``volumes``, one after the other (Welford's recurrence, float64); return self."""
        mean = torch.zeros(self.mean.shape, dtype=torch.float64)
        squares, count = torch.zeros_like(mean), 0
        for volume in volumes:
            if volume.shape[-3:] != mean.shape or volume.numel() != mean.numel():
                raise DataError(
                    f"the atlas has {tuple(mean.shape)} voxels and training scan {count + 1} {tuple(volume.shape)}."
                )
            count += 1
            difference = volume.double().reshape(mean.shape) - mean
            mean += difference / count
            squares += difference * (volume.double().reshape(mean.shape) - mean)
        if count < 2:
            raise DataError(f"{count} training scans; a standard deviation needs 2, look at the training list.")
        self.mean.copy_(mean)
        self.deviation.copy_((squares / (count - 1)).sqrt())
        return self
