# SPDX-License-Identifier: Apache-2.0
"""Slow, independent SSIM-ens: dense 3-D convolutions with k x k x k kernels over five padded maps, explicit softmax.

Written from the formulas (Wang et al. 2004; Behrendt et al. 2024), sharing no line with ``custom.scoring``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def dense_ssim(image: Tensor, reconstruction: Tensor, sigma: float, data_range: float | None = None) -> Tensor:
    """SSIM map of two volumes [X, Y, Z]."""
    radius = int(3.5 * sigma + 0.5)
    axis = torch.arange(-radius, radius + 1, dtype=torch.float64)
    window = torch.exp(-(axis**2) / (2 * sigma**2))
    window = window / window.sum()
    kernel = torch.einsum("i,j,k->ijk", window, window, window).to(image.dtype)[None, None]
    if data_range is None:
        data_range = max(float(image.max() - image.min()), float(reconstruction.max() - reconstruction.min()))

    def local_mean(volume: Tensor) -> Tensor:
        padded = F.pad(volume[None, None], [radius] * 6, mode="reflect")
        return F.conv3d(padded, kernel)[0, 0]

    mu_x, mu_y = local_mean(image), local_mean(reconstruction)
    var_x = local_mean(image * image) - mu_x**2
    var_y = local_mean(reconstruction * reconstruction) - mu_y**2
    covariance = local_mean(image * reconstruction) - mu_x * mu_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mu_x * mu_y + c1) / (mu_x**2 + mu_y**2 + c1)
    return luminance * (2 * covariance + c2) / (var_x + var_y + c2)


def dense_ssim_ensemble(image: Tensor, reconstruction: Tensor, sigmas: list[float]) -> Tensor:
    """Score 1 - sum_i softmax(-SSIM)_i SSIM_i of two volumes [X, Y, Z]."""
    maps = torch.stack([dense_ssim(image, reconstruction, sigma) for sigma in sigmas])
    return 1 - (torch.softmax(-maps, dim=0) * maps).sum(dim=0)
