# SPDX-License-Identifier: Apache-2.0
"""Structural similarity (Wang et al., IEEE TIP 2004, eq. 13) as a full-size map, 3-D or per axial slice.

    SSIM = (2 μx μy + c1)(2 σxy + c2) / ((μx² + μy² + c1)(σx² + σy² + c2)),    c1 = (k1 L)²,  c2 = (k2 L)²

with local moments under a Gaussian of ``sigma`` voxels cut at ``kernel_size(sigma)``, biased variances E[x²] - μ²
without clamp, borders mirrored without repeating the edge voxel, and L the data range: a number, or "auto" = the
larger of max - min of the image and of the reconstruction of that volume (1 if both are constant). These are the
choices behind SSIM-ens (Behrendt et al., ISBI 2024, released code, which is 3-D).

How it is fast: the variances enter as a sum, so four filtered maps suffice (x, y, xy, x² + y²). The Gaussian separates
into one matrix per axis; each pass multiplies by the matrix' band in blocks and writes the filtered axis first, so that
three passes (Z, Y, X) bring the axes back in order without a copy. Matrix products stay in full float32 (no TF32,
bfloat16 or autocast), and variances, which are differences of nearly equal numbers and do not change under a shift, are
taken after subtracting the centre of the range. Checked against a dense 3-D convolution, scikit-image, torchmetrics and
golden values; float32 agrees with float64 to 1e-4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.errors import ConfigError
from .reconstructions import Reconstructions
from .residual import check_pair

DataRange = float | Literal["auto"]
_CPU_BLOCK = 24  # rows of a band block: small enough to skip most zeros, large enough for the matrix unit


def kernel_size(sigma: float) -> int:
    """Window width in voxels: 3.5 sigma to either side, e.g. 3, 5, 5, 7, 9, 11, 11, 13 for 0.3, 0.5 ... 1.7."""
    return int(3.5 * sigma + 0.5) * 2 + 1


@lru_cache(maxsize=256)
def _filter_matrix(length: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[length, length]``: row i holds the normalised window around voxel i, mirrored into the axis at both ends."""
    radius = kernel_size(sigma) // 2
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    period = max(2 * (length - 1), 1)
    columns = (torch.arange(length)[:, None] + offsets) % period
    columns = torch.minimum(columns, period - columns) if length > 1 else columns
    matrix = torch.zeros(length, length, dtype=torch.float64)
    matrix.scatter_add_(1, columns, (weights / weights.sum()).expand(length, -1))
    return matrix.to(device, dtype)


@contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32 or bfloat16 inside float32 matrix products; the caller's settings are put back."""
    modules: list[Any] = [torch.backends.cuda, torch.backends.mkldnn]
    backends = [module.matmul for module in modules]
    settings = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, setting in zip(backends, settings, strict=True):
            backend.fp32_precision = setting


def _blur(volume: Tensor, sigma: float, axes: int) -> Tensor:
    """Gaussian over the last ``axes`` axes, which come out first: 3 of [X, Y, Z] or 2 of [Z, X, Y] give [X, Y, Z]."""
    radius = kernel_size(sigma) // 2
    for _ in range(axes):
        length = volume.shape[-1]
        matrix = _filter_matrix(length, sigma, volume.dtype, volume.device)
        rows = volume.reshape(-1, length).T  # [length, others]
        filtered = volume.new_empty(rows.shape)
        blocks = max(1, round(length / _CPU_BLOCK)) if volume.device.type == "cpu" else 1
        bounds = [length * block // blocks for block in range(blocks + 1)]
        for start, stop in pairwise(bounds):
            low, high = max(0, start - radius), min(length, stop + radius)
            # With ``out=``, a product is also out of autocast's reach.
            torch.mm(matrix[start:stop, low:high], rows[low:high], out=filtered[start:stop])
        volume = filtered.view(length, *volume.shape[:-1])
    return volume


class VolumePair:
    """One image and one reconstruction, ready to give the SSIM map at any number of window widths.

    Args:
        image: ``[X, Y, Z]``, floating point.
        reconstruction: same shape.
        data_range, spatial_dims, k1, k2: see :func:`ssim_map`.

    >>> image = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> pair = VolumePair(image, image)
    >>> [round(float(pair.ssim(sigma).min()), 3) for sigma in (0.5, 0.9)]
    [1.0, 1.0]
    """

    def __init__(
        self,
        image: Tensor,
        reconstruction: Tensor,
        data_range: DataRange = "auto",
        spatial_dims: int = 3,
        k1: float = 0.01,
        k2: float = 0.03,
    ) -> None:
        extremes = torch.stack([*image.aminmax(), *reconstruction.aminmax()]).tolist()  # one wait for the device
        (low_x, high_x, low_y, high_y) = extremes
        span = max(high_x - low_x, high_y - low_y) or 1.0 if data_range == "auto" else float(data_range)
        self._half_c1, self._half_c2 = 0.5 * (k1 * span) ** 2, 0.5 * (k2 * span) ** 2
        self._centre = 0.5 * (min(low_x, low_y) + max(high_x, high_y))
        self._axes = spatial_dims
        if spatial_dims == 2:
            image, reconstruction = image.permute(2, 0, 1).contiguous(), reconstruction.permute(2, 0, 1).contiguous()
        x, y = image - self._centre, reconstruction - self._centre
        self._maps = (x, y, x * y, (x * x).addcmul_(y, y).mul_(0.5))

    def ssim(self, sigma: float) -> Tensor:
        """SSIM map ``[X, Y, Z]``; numerator and denominator are halved twice, which saves passes over memory."""
        with _full_precision():
            mu_x, mu_y, products, half_squares = (_blur(volume, sigma, self._axes) for volume in self._maps)
        covariance = products.addcmul_(mu_x, mu_y, value=-1).add_(self._half_c2)
        half_variances = half_squares.addcmul_(mu_x, mu_x, value=-0.5).addcmul_(mu_y, mu_y, value=-0.5)
        mu_x.add_(self._centre)
        mu_y.add_(self._centre)
        numerator = covariance.mul_((mu_x * mu_y).add_(self._half_c1))
        half_mu_squares = mu_x.square_().addcmul_(mu_y, mu_y).mul_(0.5)
        return numerator.div_(half_variances.add_(self._half_c2).mul_(half_mu_squares.add_(self._half_c1)))


def check_settings(sigmas: tuple[float, ...], data_range: DataRange, spatial_dims: int) -> None:
    """Refuse settings that no SSIM can have.

    Raises:
        ConfigError: naming the setting, its value and the allowed ones.
    """
    if not sigmas or not all(math.isfinite(sigma) and sigma > 0 for sigma in sigmas):
        raise ConfigError(f"SSIM needs window widths sigma > 0 (in voxels), got {list(sigmas)}.")
    if data_range != "auto" and not (isinstance(data_range, (int, float)) and 0 < data_range < math.inf):
        raise ConfigError(
            f'The data range of SSIM is "auto" or a number > 0 (the intensity range), got {data_range!r}.'
        )
    if spatial_dims not in (2, 3):
        raise ConfigError(f"SSIM windows are 3-D or 2-D (axial slices): spatial_dims is 3 or 2, got {spatial_dims!r}.")


def per_item(tensor: Tensor) -> Tensor:
    """View ``[X, Y, Z]``, ``[1, X, Y, Z]`` or ``[B, 1, X, Y, Z]`` as ``[N, X, Y, Z]``."""
    return tensor.reshape(-1, *tensor.shape[-3:])


@torch.no_grad()
def ssim_map(
    image: Tensor,
    reconstruction: Tensor | Reconstructions,
    sigma: float,
    data_range: DataRange = "auto",
    spatial_dims: int = 3,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Tensor:
    """SSIM in [-1, 1] (up to rounding) at every voxel, in the shape of ``image``; 1 where both agree.

    Args:
        image: ``[X, Y, Z]`` or ``[B, 1, X, Y, Z]``; float64 is computed in float64, everything else in float32.
        reconstruction: same shape.
        sigma: standard deviation of the window in voxels.
        data_range: "auto" (per volume) or a fixed number.
        spatial_dims: 3, or 2 for a window within axial slices (the data range stays that of the volume).
        k1: weight of the range in the luminance constant.
        k2: weight of the range in the contrast constant.
    """
    check_settings((sigma,), data_range, spatial_dims)
    image, reconstruction = check_pair(image, reconstruction)
    items = zip(per_item(image), per_item(reconstruction), strict=True)
    maps = [VolumePair(*pair, data_range, spatial_dims, k1, k2).ssim(sigma) for pair in items]
    return torch.stack(maps).view(image.shape)


@dataclass(frozen=True)
class SSIM:
    """Score 1 - SSIM at one window width, clipped below at 0 (only rounding goes there), so in [0, 2].

    >>> image = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> round(float(SSIM(sigma=0.7)(image, image).max()), 4)
    0.0
    """

    sigma: float
    data_range: DataRange = "auto"
    spatial_dims: int = 3
    k1: float = 0.01
    k2: float = 0.03

    def __post_init__(self) -> None:
        check_settings((self.sigma,), self.data_range, self.spatial_dims)

    def __call__(self, image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
        """Anomaly map in the shape of ``image``."""
        similarity = ssim_map(image, reconstruction, self.sigma, self.data_range, self.spatial_dims, self.k1, self.k2)
        return similarity.neg_().add_(1).clamp_(min=0)
