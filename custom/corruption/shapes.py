# SPDX-License-Identifier: Apache-2.0
"""Random smooth shapes: clusters of up to three rough ellipsoids inside the brain, as opacities in [0, 1].

Per layer and sample: the number of ellipsoids; the first one's centre, uniform over the brain of the middle slice; its
radius, log-uniform; further ones beside it, smaller by exp(U(-1, 0)). Axes are the radius times exp(N(0, s)), turned by
any angle in the plane; the third axis runs across the slices, so that neighbouring slices are cut consistently. The
distance from the centre in units of the axes is multiplied by exp(-roughness · noise), and the opacity is a sigmoid of
the depth below that surface, over the edge's width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .draws import Range, choice, lists_as_tuples, normal, smooth_field, uniform

ROUGHNESS_SPACINGS_PX = (10.0, 5.0)
MOST = 3


@dataclass(frozen=True)
class BlobShapes:
    """Lengths are pixels.

    Attributes:
        count_weights: how often one, two and three ellipsoids make a shape.
        radius_px: range of the radius, log-uniform.
        axis_spread: standard deviation of the logarithm of axis / radius.
        roughness: range of the strength of the surface's noise.
        edge_px: range of the width of the soft edge.

    >>> brain = torch.ones(1, 3, 24, 24)
    >>> shapes = BlobShapes(radius_px=(2.0, 4.0))(brain, layers=1, generator=torch.Generator().manual_seed(0))
    >>> float(shapes.max()) <= 1
    True
    """

    count_weights: tuple[float, ...] = (0.60, 0.25, 0.15)
    radius_px: Range = (1.5, 16.0)
    axis_spread: float = 0.3
    roughness: Range = (0.1, 0.7)
    edge_px: Range = (0.3, 2.5)

    def __post_init__(self) -> None:
        lists_as_tuples(self)

    @torch.no_grad()
    def __call__(
        self, brain: Tensor, layers: int, generator: torch.Generator, least_radius_px: float | None = None
    ) -> Tensor:
        """Return opacities ``[B, layers, C, H, W]``, 0 outside the brain.

        Args:
            brain: bool ``[B, C, H, W]``; where the middle slice has no brain, the shapes are empty.
            layers: independent shapes per sample.
            generator: of all draws.
            least_radius_px: raises the lower end of ``radius_px`` (easy samples first).
        """
        batch, channels, height, width = brain.shape
        device, shape = brain.device, (batch, layers, MOST)
        present = torch.arange(MOST, device=device) <= choice((batch, layers, 1), self.count_weights, generator, device)
        low, high = (torch.tensor(r, device=device).log() for r in self.radius_px)
        low = low if least_radius_px is None else torch.tensor(least_radius_px, device=device).log().clamp(low, high)
        radius = (low + (high - low) * uniform((batch, layers, 1), (0.0, 1.0), generator, device)).exp()
        smaller = uniform(shape, (-1.0, 0.0), generator, device).exp()
        smaller[..., 0] = 1
        axes = (radius * smaller)[..., None] * (self.axis_spread * normal((*shape, 3), generator, device)).exp()
        centre = _random_places(brain[:, channels // 2], uniform((batch, layers), (0.0, 1.0), generator, device))
        away = radius[..., None] * uniform((*shape, 2), (-1.2, 1.2), generator, device)
        away[..., 0, :] = 0
        centre = centre[:, :, None] + away
        angle = uniform(shape, (0.0, torch.pi), generator, device)
        height_px = axes[..., 2] * uniform(shape, (-0.7, 0.7), generator, device)
        edge = uniform((batch, layers, 1, 1, 1), self.edge_px, generator, device)
        roughness = uniform((batch, layers, 1, 1, 1), self.roughness, generator, device)
        noise = sum(smooth_field(batch * layers, height, width, px, generator, device) for px in ROUGHNESS_SPACINGS_PX)
        noise = torch.as_tensor(noise).view(batch, layers, 1, height, width) / len(ROUGHNESS_SPACINGS_PX) ** 0.5

        rows = torch.arange(height, device=device).view(-1, 1) - centre[..., 0, None, None]
        columns = torch.arange(width, device=device).view(1, -1) - centre[..., 1, None, None]
        cos, sin = (part[..., None, None] for part in (angle.cos(), angle.sin()))
        in_plane = ((cos * rows + sin * columns) / axes[..., 0, None, None]) ** 2
        in_plane += ((cos * columns - sin * rows) / axes[..., 1, None, None]) ** 2
        slices = torch.arange(channels, device=device) - channels // 2
        across = ((slices - height_px[..., None]) / axes[..., 2, None]) ** 2
        stretch = (-roughness * noise).exp()
        opacity = torch.zeros((batch, layers, channels, height, width), device=device)
        for nth in range(MOST):
            distance = (in_plane[:, :, nth, None] + across[:, :, nth, :, None, None]).sqrt_() * stretch
            depth = (1 - distance) * (radius * smaller)[:, :, nth, None, None, None] / edge
            torch.maximum(opacity, depth.sigmoid_() * present[:, :, nth, None, None, None], out=opacity)
        return opacity * brain[:, None]


def _random_places(brain: Tensor, share: Tensor) -> Tensor:
    """Return row and column ``[B, L, 2]`` of the pixel that lies ``share`` ``[B, L]`` of the way through the brain."""
    running = brain.flatten(1).cumsum(1)
    wanted = (share * running[:, -1:]).long() + 1
    index = torch.searchsorted(running, wanted).clamp(max=running.shape[1] - 1)
    return torch.stack([index // brain.shape[2], index % brain.shape[2]], dim=-1).float()
