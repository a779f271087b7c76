# SPDX-License-Identifier: Apache-2.0
"""Variation between scanners, coils, sequences and registrations, on input and target alike.

In this order: mirrored left to right, shift, gamma, gain and offset, smooth coil field (polynomial of order 2), blur,
noise. Nothing of it is to be undone by a network, it is what healthy scans differ in.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .draws import Range, lists_as_tuples, normal, uniform

BLUR_RADIUS_PX = 3


@dataclass(frozen=True)
class ScannerVariation:
    """Intensities are those of slabs, [0, 1]; results are clipped to it and are 0 outside the brain.

    Attributes:
        log_gamma, gain, offset: ranges.
        bias: largest size of the coil field: factors lie within 1 ± bias.
        blur_share, blur_px: share of the samples that are blurred, range of the sigma.
        noise_share, noise_sd: share of the samples with noise, range of its standard deviation.
        mirror_share: share of the samples that are mirrored along rows (left to right).
        shift_px: largest shift along rows and columns.

    >>> slabs, brain = torch.full((2, 3, 24, 24), 0.5), torch.ones(2, 3, 24, 24)
    >>> changed, _ = ScannerVariation()(slabs, brain, torch.Generator().manual_seed(0))
    >>> 0 <= float(changed.min()) <= float(changed.max()) <= 1
    True
    """

    log_gamma: Range = (-0.3, 0.3)
    gain: Range = (0.85, 1.15)
    offset: Range = (-0.05, 0.05)
    bias: float = 0.2
    blur_share: float = 0.35
    blur_px: Range = (0.35, 0.9)
    noise_share: float = 0.6
    noise_sd: Range = (0.0, 0.035)
    mirror_share: float = 0.5
    shift_px: int = 2

    def __post_init__(self) -> None:
        lists_as_tuples(self)

    @torch.no_grad()
    def __call__(self, slabs: Tensor, brain: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return varied copies of ``slabs`` ``[B, C, H, W]`` and of their brains (bool, same shape)."""
        batch, _, height, width = slabs.shape
        device, each = slabs.device, (batch, 1, 1, 1)

        def share(probability: float) -> Tensor:
            return uniform(each, (0.0, 1.0), generator, device) < probability

        mirrored = share(self.mirror_share)
        shifts = uniform((batch, 2), (-self.shift_px, self.shift_px + 1), generator, device).floor().long()
        slabs, brain = (_moved(volume, mirrored, shifts) for volume in (slabs, brain))
        varied = slabs ** uniform(each, self.log_gamma, generator, device).exp()
        varied = varied * uniform(each, self.gain, generator, device) + uniform(each, self.offset, generator, device)
        varied = varied * (1 + self._coil_field(batch, height, width, generator, device))
        sigma = uniform((batch,), self.blur_px, generator, device)
        varied = torch.where(share(self.blur_share), _blurred(varied * brain, sigma), varied)
        noise = uniform(each, self.noise_sd, generator, device) * normal(tuple(slabs.shape), generator, device)
        varied = torch.where(share(self.noise_share), varied + noise, varied)
        return varied.clamp(0, 1) * brain, brain

    def _coil_field(
        self, batch: int, height: int, width: int, generator: torch.Generator, device: torch.device
    ) -> Tensor:
        x, y = (torch.linspace(-1, 1, size, device=device) for size in (height, width))
        terms = [x[:, None] + 0 * y, 0 * x[:, None] + y, x[:, None] * y, x[:, None] ** 2 + 0 * y, 0 * x[:, None] + y**2]
        field = normal((batch, len(terms)), generator, device) @ torch.stack(terms).flatten(1)
        field = field - field.mean(1, keepdim=True)
        size = uniform((batch, 1), (0.0, self.bias), generator, device)
        return (size * field / field.abs().amax(1, keepdim=True)).view(batch, 1, height, width)


def _moved(volume: Tensor, mirrored: Tensor, shifts: Tensor) -> Tensor:
    volume = torch.where(mirrored, volume.flip(2), volume)
    height, width = volume.shape[2:]
    rows = (torch.arange(height, device=volume.device) - shifts[:, :1]) % height
    columns = (torch.arange(width, device=volume.device) - shifts[:, 1:]) % width
    volume = volume.gather(2, rows[:, None, :, None].expand_as(volume))
    return volume.gather(3, columns[:, None, None, :].expand_as(volume))


def _blurred(slabs: Tensor, sigma_px: Tensor) -> Tensor:
    """Gaussian blur within the slices, one sigma per sample; borders are 0."""
    batch, channels, height, width = slabs.shape
    taps = torch.arange(-BLUR_RADIUS_PX, BLUR_RADIUS_PX + 1, device=slabs.device)
    kernels = (-(taps**2) / (2 * sigma_px[:, None] ** 2)).exp()
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = slabs.reshape(1, batch * channels, height, width)
    flat = F.conv2d(flat, kernels[:, None, :, None], padding=(BLUR_RADIUS_PX, 0), groups=batch * channels)
    flat = F.conv2d(flat, kernels[:, None, None, :], padding=(0, BLUR_RADIUS_PX), groups=batch * channels)
    return flat.view_as(slabs)
