# SPDX-License-Identifier: Apache-2.0
"""SparK: pre-train a ResNet by letting a light decoder fill in masked cells (Tian et al., ICLR 2023; for brain MRI,
cDDPM, Behrendt et al., arXiv 2312.04215, section 3.3).

The encoder sees the visible cells alone (:mod:`.masked_resnet`). Its four feature maps are made dense, each by a batch
normalisation over the active positions, a learned token in the masked cells, and a convolution to the decoder's width;
the decoder doubles the size in every stage and takes them in from coarse to fine.

With ResNet-50, one channel and width 512: 37,964,305 parameters = encoder 23,501,760 + decoder 10,304,913 + convolutions
between them 4,146,112 + norms and tokens 11,520, as the released code of cDDPM.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from monai.networks.nets import ResNet
from torch import Tensor, nn

from ..core.errors import ConfigError
from .masked_resnet import masked_features, masked_norm, total_stride, upsampled

_INITIAL_STD = 0.02


class MaskedOutput(NamedTuple):
    """What :class:`SparK` returns; :class:`.masked_loss.MaskedReconstructionLoss` takes it.

    Attributes:
        reconstruction: ``[B, 1, H, W]``.
        active: visible cells, bool ``[B, 1, rows, columns]``.
        features: deepest feature map ``[B, C, h, w]``, zero in masked cells.

    >>> active = torch.tensor([[[[True, False], [True, True]]]])
    >>> output = MaskedOutput(torch.zeros(1, 1, 64, 64), active, torch.zeros(1, 16, 2, 2))
    >>> upsampled(output.active, output.reconstruction).float().mean()  # share of the pixels that the encoder saw
    tensor(0.7500)
    """

    reconstruction: Tensor
    active: Tensor
    features: Tensor


class SparK(nn.Module):
    """Sparse encoder and light decoder.

    Args:
        encoder: makes the 2-D ``ResNet`` without last layer that the pre-training is for, a class or partial that takes
            ``feed_forward``.
        decoder_width: channels of the decoder's first stage, a multiple of 2 to the number of stages (5 at stride 32).

    >>> from functools import partial
    >>> encoder = partial(ResNet, "basic", [1, 1, 1, 1], [16, 16, 16, 16], spatial_dims=2, n_input_channels=1, conv1_t_stride=2)
    >>> output = SparK(encoder, decoder_width=32)(torch.rand(2, 1, 64, 64), torch.tensor([[[[True, False], [True, True]]]] * 2))
    >>> output.reconstruction.shape, output.features.shape
    (torch.Size([2, 1, 64, 64]), torch.Size([2, 16, 2, 2]))
    """

    def __init__(self, encoder: Callable[..., ResNet], decoder_width: int = 512) -> None:
        super().__init__()
        self.encoder = encoder(feed_forward=False)
        self.stride = total_stride(self.encoder)
        stages = int(math.log2(self.stride))
        if self.encoder.no_max_pool:
            raise ConfigError("SparK takes a ResNet with max-pool; set no_max_pool to false.")
        if decoder_width < 2**stages or decoder_width % 2**stages:
            raise ConfigError(
                f"decoder_width {decoder_width} is halved {stages} times; take a multiple of {2**stages}."
            )
        layers = (self.encoder.layer4, self.encoder.layer3, self.encoder.layer2, self.encoder.layer1)
        channels = [_width(layer) for layer in layers]
        widths = [decoder_width // 2**stage for stage in range(stages + 1)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels)
        self.tokens = nn.ParameterList(torch.zeros(1, c, 1, 1) for c in channels)
        self.projections = nn.ModuleList(
            nn.Identity() if depth == 0 and c == w else nn.Conv2d(c, w, 1 if depth == 0 else 3, padding=int(depth > 0))
            for depth, (c, w) in enumerate(zip(channels, widths, strict=False))
        )
        self.stages = nn.ModuleList(_stage(a, b) for a, b in pairwise(widths))
        self.output = nn.Conv2d(widths[-1], 1, kernel_size=1)
        self._initialise()

    def forward(self, images: Tensor, active: Tensor) -> MaskedOutput:
        """Reconstruct slices from their visible cells.

        Args:
            images: ``[B, 1, H, W]`` in [0, 1]; H and W are multiples of the encoder's stride.
            active: visible cells, bool ``[B, 1, rows, columns]``.
        """
        check_size(images, self.stride)
        features = masked_features(self.encoder, images, active)
        x: Tensor | None = None
        for depth, stage in enumerate(self.stages):
            if depth < len(self.tokens):
                skip = self._dense(depth, features[-1 - depth], active)
                x = skip if x is None else x + skip
            x = stage(x)
        return MaskedOutput(self.output(x), active, features[-1])

    def _dense(self, depth: int, features: Tensor, active: Tensor) -> Tensor:
        normed = masked_norm(self.norms[depth], features, active)
        filled = torch.where(upsampled(active, features), normed, self.tokens[depth].to(normed.dtype))
        dense: Tensor = self.projections[depth](filled)
        return dense

    def _initialise(self) -> None:
        for token in self.tokens:
            nn.init.trunc_normal_(token, std=_INITIAL_STD)
        for module in [*self.projections.modules(), *self.stages.modules(), self.output]:
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=_INITIAL_STD)
            if isinstance(module, nn.ConvTranspose2d | nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)


def check_size(images: Tensor, stride: int) -> None:
    """Refuse slices that are no multiple of the encoder's stride."""
    if any(size % stride for size in images.shape[-2:]):
        wanted = " x ".join(str(-(-size // stride) * stride) for size in images.shape[-2:])
        raise ConfigError(
            f"slices of {' x '.join(map(str, images.shape[-2:]))} pixels cannot be divided into the encoder's cells of "
            f"{stride} pixels; pad them to {wanted}."
        )


def _width(layer: nn.Sequential) -> int:
    block: Any = layer[-1]
    return int((block.bn3 if hasattr(block, "bn3") else block.bn2).num_features)


def _stage(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, in_channels, kernel_size=4, stride=2, padding=1),
        nn.Conv2d(in_channels, in_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU6(inplace=True),
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
    )
