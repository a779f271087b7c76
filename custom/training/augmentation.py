# SPDX-License-Identifier: Apache-2.0
"""Intensity augmentation of training slices, batched: gamma, bias field, blur, ghosting, in this order.

The families and ranges are those of Behrendt et al. (cDDPM, arXiv 2312.04215, and the released code of ISBI 2024),
which apply TorchIO's transforms to whole volumes before one slice is taken:

=========  =====  ==================================================================================================
family     p      parameters
=========  =====  ==================================================================================================
gamma      0.50   sign(I) |I|^γ, log γ uniform in [-0.3, 0.3]
bias       0.25   I · exp(polynomial of order 3 in x, y, z in [-1, 1]), 20 coefficients uniform in [-0.5, 0.5]
blur       0.25   Gaussian, σ uniform in [0, 2] mm per axis
ghosting   0.50   4 ... 10 ghosts along a random axis, intensity uniform in [0.5, 1], central 2 % of k-space kept
=========  =====  ==================================================================================================

Here the slice comes first, which is many times cheaper. What differs: the bias field is the volume's polynomial at a
uniformly drawn height z instead of the slice's own; blur and ghosting act in the plane only, so nothing leaks in from
neighbouring slices and the ghosting axis is one of two, not three. Every sample draws for itself.

Images ``[B, 1, H, W]`` in [0, 1]; results are not clamped and may leave [0, 1], as in the released code. Gamma and
bias keep a background of 0. Blur and ghosting reach into it as published, unless ``keep_background``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..core.seeding import sent_to


@dataclass(frozen=True)
class IntensityAugmentation:
    """Callable ``augmentation(images, mask, generator) -> images``.

    All draws are made on the generator's device, one row of uniform numbers per sample: with a CPU generator sample i
    is augmented in the same way in batches of any size and on any device.

    Args:
        gamma_probability, bias_probability, blur_probability, ghosting_probability: shares of samples with each.
        log_gamma_range: range of log γ.
        bias_order: order of the polynomial.
        bias_coefficient: largest magnitude of a coefficient.
        blur_sigma_mm: range of the standard deviation, drawn per axis.
        spacing_mm: pixel size.
        ghosts_range: smallest and largest number of ghosts.
        ghosting_intensity_range: range of the strength; 1 removes the chosen lines of k-space.
        ghosting_restore: share of k-space around its centre that stays untouched.
        keep_background: set everything outside ``mask`` to 0 at the end; False is the published behaviour.

    >>> gamma_alone = IntensityAugmentation(
    ...     gamma_probability=1.0, log_gamma_range=(0.5, 0.5), bias_probability=0.0, bias_order=3, bias_coefficient=0.5,
    ...     blur_probability=0.0, blur_sigma_mm=(0.0, 2.0), spacing_mm=2.0, ghosting_probability=0.0,
    ...     ghosts_range=(4, 10), ghosting_intensity_range=(0.5, 1.0), ghosting_restore=0.02, keep_background=False)
    >>> slices = torch.full((2, 1, 8, 8), 0.5)
    >>> torch.allclose(gamma_alone(slices), slices ** torch.tensor(0.5).exp())
    True
    """

    gamma_probability: float
    log_gamma_range: Sequence[float]
    bias_probability: float
    bias_order: int
    bias_coefficient: float
    blur_probability: float
    blur_sigma_mm: Sequence[float]
    spacing_mm: float
    ghosting_probability: float
    ghosts_range: Sequence[int]
    ghosting_intensity_range: Sequence[float]
    ghosting_restore: float
    keep_background: bool

    def __post_init__(self) -> None:
        if not all(0 <= p <= 1 for p in self._probabilities):
            raise ConfigError(f"Probabilities of the augmentation must lie in 0 ... 1, got {self._probabilities}.")

    @property
    def _probabilities(self) -> tuple[float, float, float, float]:
        return self.gamma_probability, self.bias_probability, self.blur_probability, self.ghosting_probability

    @torch.no_grad()
    def __call__(self, images: Tensor, mask: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Return augmented copies of ``images`` ``[B, 1, H, W]``; ``mask`` of the same shape is optional."""
        if images.ndim != 4 or images.shape[1] != 1:
            raise ConfigError(f"The augmentation takes slices [B, 1, H, W], got {tuple(images.shape)}.")
        source = images.device if generator is None else generator.device
        terms = len(_powers(self.bias_order))
        draws = torch.rand(len(images), 11 + terms, generator=generator, device=source)
        gates = draws[:, :4] < torch.tensor(self._probabilities, device=source)
        axis = (draws[:, 4] * 2).long()
        chosen = [gates[:, 0], gates[:, 1], gates[:, 2], gates[:, 3] & (axis == 0), gates[:, 3] & (axis == 1)]
        rows = [sent_to(gate.nonzero()[:, 0], images.device) for gate in chosen]
        draws = sent_to(draws, images.device)

        result = images[:, 0].float().clone()
        gamma, bias, blurred, *ghosted = rows
        if len(gamma):
            result[gamma] = power(result[gamma], _between(draws[gamma, 5], self.log_gamma_range).exp())
        if len(bias):
            limits = (-self.bias_coefficient, self.bias_coefficient)
            coefficients = _between(draws[bias, 11:], limits)
            result[bias] *= bias_field(coefficients, draws[bias, 6] * 2 - 1, self.bias_order, *result.shape[1:])
        if len(blurred):
            sigma_px = [sigma / self.spacing_mm for sigma in self.blur_sigma_mm]
            result[blurred] = blur(result[blurred], _between(draws[blurred, 7:9], sigma_px), sigma_px[1])
        low, high = self.ghosts_range
        for dim, part in zip((1, 2), ghosted, strict=True):
            if len(part):
                ghosts = low + (draws[part, 9] * (high - low + 1)).long()
                intensity = _between(draws[part, 10], self.ghosting_intensity_range)
                result[part] = ghosting(result[part], ghosts, intensity, self.ghosting_restore, dim)
        if self.keep_background and mask is not None:
            result *= mask[:, 0] > 0
        return result[:, None]


def power(images: Tensor, gamma: Tensor) -> Tensor:
    """Return sign(I) |I|^γ for images ``[N, H, W]`` and exponents ``[N]``."""
    return images.sign() * images.abs() ** gamma[:, None, None]


def bias_field(coefficients: Tensor, z: Tensor, order: int, height: int, width: int) -> Tensor:
    """Return exp(Σ c_ijk x^i y^j z^k) over i + j + k <= order (Van Leemput et al., 1999, as in TorchIO).

    Args:
        coefficients: ``[N, terms]``, x-order outermost, z-order innermost.
        z: ``[N]`` heights in [-1, 1].
        order: order of the polynomial.
        height: pixels along x, from -1 to 1.
        width: pixels along y, from -1 to 1.

    Returns:
        Factors ``[N, height, width]``.
    """
    basis, orders = _basis(order, height, width, z.device)
    at_height = coefficients * z[:, None] ** orders
    return (at_height @ basis).exp().reshape(-1, height, width)


def blur(images: Tensor, sigma_px: Tensor, sigma_max_px: float) -> Tensor:
    """Return images ``[N, H, W]`` smoothed with ``sigma_px`` ``[N, 2]``, each at most ``sigma_max_px``.

    As ``scipy.ndimage.gaussian_filter``: kernels cut at 4 σ, borders mirrored. Each axis is one matrix product.
    """
    radius = int(4 * sigma_max_px + 0.5)
    taps = torch.arange(-radius, radius + 1, device=images.device)
    sigma = sigma_px.clamp(min=1e-4)[..., None]
    kernels = (-(taps**2) / (2 * sigma**2)).exp() * (taps.abs() <= (4 * sigma + 0.5).floor())
    kernels = kernels / kernels.sum(-1, keepdim=True)  # [N, 2, taps]
    down, across = (
        (kernels[:, i] @ _mirrored_shifts(radius, size, images.device)).reshape(-1, size, size)
        for i, size in enumerate(images.shape[1:])
    )
    return torch.matmul(down @ images, across.mT)


def ghosting(images: Tensor, ghosts: Tensor, intensity: Tensor, restore: float, dim: int) -> Tensor:
    """Return images ``[N, H, W]`` with every n-th line of k-space along ``dim`` weakened (TorchIO's ghosting).

    Args:
        images: slices.
        ghosts: ``[N]`` numbers n of ghosts.
        intensity: ``[N]`` strengths; the lines are multiplied by 1 - intensity.
        restore: share of the lines, around the centre, that stays as it was.
        dim: 1 or 2.
    """
    size = images.shape[dim]
    line = torch.arange(size, device=images.device)  # line number with the zero frequency in the middle
    kept = round(restore * size) // 2
    weakened = (line % ghosts[:, None] == 0) & ~((line >= size // 2 - kept) & (line < size // 2 + kept))
    factors = torch.where(weakened, 1 - intensity[:, None], 1.0)
    # Only frequencies along `dim` matter: the transform along the other axis would cancel.
    factors = torch.fft.ifftshift(factors, dim=1).unsqueeze(3 - dim)
    changed: Tensor = torch.fft.ifft(torch.fft.fft(images, dim=dim) * factors, dim=dim).real
    return changed


def _between(uniform: Tensor, limits: Sequence[float]) -> Tensor:
    return limits[0] + uniform * (limits[1] - limits[0])


def _powers(order: int) -> list[tuple[int, int, int]]:
    return [(i, j, k) for i in range(order + 1) for j in range(order + 1 - i) for k in range(order + 1 - i - j)]


@lru_cache(maxsize=4)
def _basis(order: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return x^i y^j for every term, ``[terms, height * width]``, and the terms' powers of z."""
    x, y = (torch.linspace(-1, 1, size, device=device) for size in (height, width))
    powers = _powers(order)
    basis = torch.stack([torch.outer(x**i, y**j).flatten() for i, j, _ in powers])
    return basis, torch.tensor([k for _, _, k in powers], device=device)


@lru_cache(maxsize=8)
def _mirrored_shifts(radius: int, size: int, device: torch.device) -> Tensor:
    """Return, per tap, the flattened matrix that shifts a line by it with mirrored borders, ``[taps, size * size]``."""
    taps = torch.arange(-radius, radius + 1, device=device)
    place = (torch.arange(size, device=device) + taps[:, None]) % (2 * size)
    place = torch.where(place < size, place, 2 * size - 1 - place)
    return torch.nn.functional.one_hot(place, size).flatten(1).float()
