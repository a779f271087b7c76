# SPDX-License-Identifier: Apache-2.0
"""U-Net of the denoising autoencoder (Kascenas et al., "Denoising autoencoders for unsupervised anomaly detection in
brain MRI", MIDL 2022, section 3.2).

``[B, C, H, W]`` in, the same shape out, H and W multiples of 8 from 16 on. Per level of width c (64, 128, 256, 512)::

    block   2 x [reflection padding 1, 3x3 weight-standardised conv | Swish | group norm]    8, 16, 16, 32 groups
    down    2x2 average pooling
    up      2x2 transposed conv, stride 2, to the upper level's width | concatenation (skip, up) | block
    output  1x1 conv, linear: nothing confines the reconstruction to [0, 1]

**7,701,825 parameters** from one channel to one. The skip connections copy the input: only the corruption of the
training inputs keeps the network from the identity, so it is of no use as a plain autoencoder.

Written out because MONAI's ``BasicUNet`` has a fixed depth of five with max pooling, ``UNet`` residual units, and
neither reflection padding nor weight standardisation can be set; ``UpSample`` and ``Pool`` are MONAI's. Swish is
PyTorch's fused ``SiLU`` (x · sigmoid(x), MONAI's ``Swish`` keeps three tensors for the same). Initial weights are
PyTorch's defaults.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import UpSample
from monai.networks.layers.factories import Pool
from torch import Tensor, nn

from ..core.errors import ConfigError

_EPSILON = 1e-5


class WeightStandardizedConv2d(nn.Conv2d):
    """Convolution whose filters have mean 0 and standard deviation 1 (Qiao et al., arXiv 1903.10520, eq. 4-6).

    The n weights of a filter, over input channels and positions, are used as (w - mean(w)) / (std(w) + 1e-5) with the
    unbiased deviation (n - 1), as in the public implementations; the paper divides by n. The bias stays as it is.

    >>> weight = WeightStandardizedConv2d(1, 4, kernel_size=3).standardized_weight()
    >>> torch.allclose(weight.std(dim=(1, 2, 3)), torch.ones(4), atol=1e-3)
    True
    """

    def standardized_weight(self) -> Tensor:
        """Return the weights the convolution uses, of the shape of ``weight``."""
        deviation, mean = torch.std_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        weight: Tensor = (self.weight - mean) / (deviation + _EPSILON)
        return weight

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input`` with the standardised filters."""
        output: Tensor = self._conv_forward(input, self.standardized_weight(), self.bias)
        return output


class KascenasUNet(nn.Module):
    """Denoising U-Net.

    Args:
        in_channels: contrasts in.
        out_channels: contrasts out.
        channels: width per level, top first; one level more means a factor of two more in H and W.

    >>> KascenasUNet(channels=(8, 16)).eval()(torch.zeros(2, 1, 16, 16)).shape
    torch.Size([2, 1, 16, 16])
    """

    def __init__(
        self, in_channels: int = 1, out_channels: int = 1, channels: Sequence[int] = (64, 128, 256, 512)
    ) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ConfigError(f"KascenasUNet needs the widths of two or more levels, got channels={tuple(channels)}.")
        self.factor: int = 2 ** (len(channels) - 1)
        self.down = nn.ModuleList(map(_block, [in_channels, *channels], channels))
        self.pool = Pool["avg", 2](kernel_size=2)
        self.upsample = nn.ModuleList(
            UpSample(2, below, above, scale_factor=2, mode="deconv") for above, below in reversed([*pairwise(channels)])
        )
        self.up = nn.ModuleList(_block(2 * above, above) for above in channels[-2::-1])
        self.output = nn.Conv2d(channels[0], out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction ``[B, C, H, W]`` of slices in [0, 1]."""
        if any(edge % self.factor or edge < 2 * self.factor for edge in x.shape[2:]):
            raise ConfigError(
                f"KascenasUNet cannot halve slices of {tuple(x.shape[2:])} pixels {len(self.down) - 1} times: "
                f"pad or crop the working grid to multiples of {self.factor}, at least {2 * self.factor}."
            )
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        skips.pop()
        for upsample, block in zip(self.upsample, self.up, strict=True):
            x = block(torch.cat([skips.pop(), upsample(x)], dim=1))
        reconstruction: Tensor = self.output(x)
        return reconstruction


def groups_of(channels: int) -> int:
    """Return the number of groups: the smallest divisor not below √channels; the paper's 8, 16, 16, 32.

    >>> [groups_of(channels) for channels in (64, 128, 256, 512)]
    [8, 16, 16, 32]
    """
    return next(divisor for divisor in range(1, channels + 1) if channels % divisor == 0 and divisor**2 >= channels)


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            WeightStandardizedConv2d(channels, out_channels, kernel_size=3, padding=1, padding_mode="reflect"),
            nn.SiLU(),
            nn.GroupNorm(groups_of(out_channels), out_channels),
        ]
    return nn.Sequential(*layers)
