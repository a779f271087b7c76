# SPDX-License-Identifier: Apache-2.0
"""Dense autoencoder, plain or variational (Baur et al., "Autoencoders for unsupervised anomaly segmentation in brain
MR images: a comparative study", Medical Image Analysis 2021, section 3.2 "unified architecture").

``[B, C, H, W]`` in, the same shape out. With n = floor(log2(min(H, W) / 8)) levels, 96 x 96 pixels give::

    encoder     n x [5x5 conv, stride 2 | batch norm | LeakyReLU 0.3]       1-32-64-128 channels, 12 x 12
    bottleneck  1x1 conv to 16 | dense to 128 | dropout 0.2 | dense to 16 x 12 x 12 | dropout 0.2 | 1x1 conv to 128
    decoder     batch norm | ReLU | n x [5x5 transposed conv, stride 2 | batch norm | LeakyReLU 0.3]    128-64-32
    output      1x1 conv, linear: nothing confines the reconstruction to [0, 1]

Parameters at 96 x 96: encoder 257,472 + bottleneck 596,496 (the two dense layers are 592,256 of them) + decoder
666,528 + output 33 = **1,520,529**; at 128 x 128 (n = 4) 1,627,249. The variational one has a second dense layer for
log σ: 295,040 more.

MONAI's ``Convolution`` makes every convolution. Its ``AutoEncoder`` has no dense bottleneck, and its ``VarAutoEncoder``
has no 1x1 convolutions around the dense layers, cannot be non-variational, does not normalise before the decoder, ends
in a transposed convolution and mirrors the encoder's widths (128-64-32 in, 64-32-1 out).

Choices where PyTorch and the original's TensorFlow differ:

* TensorFlow pads a 5x5 convolution of stride 2 by 1 pixel before and 2 after an even-sized image ("same");
  ``Convolution`` pads 2 and, effectively, 1 (the last padded row is never read). One is the other on mirrored images,
  also for the transposed convolutions, so the network can learn the same functions up to mirroring (checked in the
  tests).
* Batch norm and initial weights are PyTorch's defaults (ε 1e-5, momentum 0.1, Kaiming uniform) instead of Keras'.
* The variational network has no dropout on μ and log σ: sampling is noise enough, and a zeroed log σ means σ = 1.
"""

import math
from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from ..core.errors import ConfigError

_LEAKY = ("leakyrelu", {"negative_slope": 0.3})
_SMALLEST = 8  # edge of the feature map that the encoder stops above


class VariationalOutput(NamedTuple):
    """What the variational network returns in training mode; :class:`.vae_loss.EvidenceLowerBound` takes it.

    Attributes:
        reconstruction: ``[B, C, H, W]``, decoded from a sample of the posterior.
        mu: ``[B, latent]``, mean of the posterior.
        log_sigma: ``[B, latent]``, logarithm of its standard deviation.

    >>> network = BaurAutoencoder(image_size=16, latent_size=8, variational=True).train()
    >>> output = network(torch.zeros(2, 1, 16, 16))
    >>> output.reconstruction.shape, output.mu.shape, output.log_sigma.shape
    (torch.Size([2, 1, 16, 16]), torch.Size([2, 8]), torch.Size([2, 8]))
    """

    reconstruction: Tensor
    mu: Tensor
    log_sigma: Tensor


class BaurAutoencoder(nn.Module):
    """Encoder, dense bottleneck, decoder.

    Args:
        image_size: pixels per axis, one number for squares; a multiple of 2^n and at least 16.
        latent_size: length of the latent vector z.
        in_channels: contrasts in.
        out_channels: contrasts out.
        min_channels: width of the first encoder level and least width of a decoder level.
        max_channels: greatest width.
        dropout: probability behind the dense layers.
        variational: predict a Gaussian posterior of z (VAE) instead of z.

    >>> BaurAutoencoder(image_size=16, latent_size=8).eval()(torch.zeros(2, 1, 16, 16)).shape
    torch.Size([2, 1, 16, 16])
    """

    def __init__(
        self,
        image_size: int | Sequence[int],
        latent_size: int = 128,
        in_channels: int = 1,
        out_channels: int = 1,
        min_channels: int = 32,
        max_channels: int = 128,
        dropout: float = 0.2,
        variational: bool = False,
    ) -> None:
        super().__init__()
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        levels = (min(size) // _SMALLEST).bit_length() - 1  # floor(log2(min(size) / 8))
        if len(size) != 2 or levels < 1 or any(edge % 2**levels for edge in size):
            raise ConfigError(
                f"BaurAutoencoder cannot be built for image_size {size}: it halves the image {max(levels, 1)} times; "
                f"take two edges of at least {2 * _SMALLEST} pixels that are multiples of {2 ** max(levels, 1)}."
            )
        self.image_size = size
        self.variational = variational
        down = [min(max_channels, min_channels * 2**level) for level in range(levels)]
        up = [max(min_channels, max_channels // 2**level) for level in range(levels)]
        squeezed = max(1, down[-1] // 8)
        grid = tuple(edge // 2**levels for edge in size)
        features = squeezed * math.prod(grid)

        self.encoder = nn.Sequential(*map(_convolution, [in_channels, *down], down, repeat(False)))
        self.squeeze = nn.Conv2d(down[-1], squeezed, kernel_size=1)
        self.to_latent = nn.Linear(features, latent_size)  # z, or μ of the variational network
        self.to_log_sigma = nn.Linear(features, latent_size) if variational else None
        self.from_latent = nn.Linear(latent_size, features)
        self.dropout = nn.Dropout(dropout)
        self.unflatten = nn.Unflatten(1, (squeezed, *grid))
        self.expand = nn.Conv2d(squeezed, down[-1], kernel_size=1)
        self.decoder = nn.Sequential(
            nn.BatchNorm2d(down[-1]),
            nn.ReLU(),
            *map(_convolution, [down[-1], *up], up, repeat(True)),
            nn.Conv2d(up[-1], out_channels, kernel_size=1),
        )

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor | VariationalOutput:
        """Return the reconstruction ``[B, C, H, W]``, or :class:`VariationalOutput` if variational and in training.

        Args:
            x: slices ``[B, C, H, W]`` in [0, 1].
            generator: of the posterior's samples, on the device of ``x``; None for torch's global one, from which
                dropout draws too.
        """
        if x.shape[2:] != self.image_size:
            raise ConfigError(
                f"BaurAutoencoder was built for slices of {self.image_size} pixels and got {tuple(x.shape)}; its dense "
                "layers fix the size: resample the scan to the working grid, or set image_size."
            )
        features = self.squeeze(self.encoder(x)).flatten(1)
        z = self.to_latent(features)
        if self.to_log_sigma is None:
            return self.decode(self.dropout(z))
        if not self.training:
            return self.decode(z)
        mu, log_sigma = z.float(), self.to_log_sigma(features).float()  # exp would overflow in half precision
        noise = torch.empty_like(mu).normal_(generator=generator)
        return VariationalOutput(self.decode(mu + log_sigma.exp() * noise), mu, log_sigma)

    def decode(self, z: Tensor) -> Tensor:
        """Return the images ``[B, C, H, W]`` of latent vectors ``[B, latent]``."""
        features: Tensor = self.expand(self.unflatten(self.dropout(self.from_latent(z))))
        images: Tensor = self.decoder(features)
        return images


def _convolution(in_channels: int, out_channels: int, is_transposed: bool) -> nn.Module:
    block: nn.Module = Convolution(
        2, in_channels, out_channels, strides=2, kernel_size=5, act=_LEAKY, norm="batch", is_transposed=is_transposed
    )
    return block
