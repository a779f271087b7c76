# SPDX-License-Identifier: Apache-2.0
"""MONAI's ``ResNet`` on the visible cells of masked slices, as if the masked ones did not exist (SparK, Tian et al.,
ICLR 2023, section 3.2).

The slice is divided into a grid of square cells. ``active``, bool ``[B, 1, rows, columns]``, says which are visible; it is
an argument of every function here and stored nowhere. Masked pixels are zeros for the first convolution, the features of
masked cells are exactly zero behind every layer, and batch normalisation takes its statistics from the active positions.
Nothing is copied from the network: its own layers run, its own running statistics are learned, and its state dict is
that of an ordinary ResNet. With all cells active, the features are those of the ordinary ResNet.
"""

from typing import Any

from monai.networks.nets import ResNet
from monai.networks.nets.resnet import ResNetBottleneck
from torch import Tensor, nn

from ..core.errors import ConfigError


def masked_features(network: ResNet, images: Tensor, active: Tensor) -> list[Tensor]:
    """Return the four feature maps behind ``layer1`` ... ``layer4``, zero in masked cells.

    Args:
        network: 2-D ResNet with a max-pool.
        images: ``[B, C, H, W]``.
        active: visible cells, bool ``[B, 1, rows, columns]``; a cell is at least as large as the network's total stride.
    """
    x = network.act(masked_norm(network.bn1, network.conv1(images * upsampled(active, images)), active))
    x = network.maxpool(x)  # features are >= 0 here, so the zeros of masked cells never win
    x = x * upsampled(active, x)
    features = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in layer:
            x = _block(block, x, active)
        features.append(x)
    return features


def masked_norm(norm: nn.Module, x: Tensor, active: Tensor) -> Tensor:
    """Apply a batch normalisation to the active positions of ``x`` ``[B, C, h, w]`` alone; the others become zero."""
    chosen = upsampled(active, x)[:, 0]
    rows = x.permute(0, 2, 3, 1)[chosen]  # [positions, C]
    normed = norm(rows[:, :, None, None])[:, :, 0, 0]
    result = normed.new_zeros((x.shape[0], x.shape[2], x.shape[3], x.shape[1]))
    result[chosen] = normed
    back: Tensor = result.permute(0, 3, 1, 2)
    return back


def upsampled(active: Tensor, like: Tensor) -> Tensor:
    """Return ``active`` on the pixels of the feature map ``like``, bool ``[B, 1, h, w]``."""
    rows, columns = (size // cells for size, cells in zip(like.shape[-2:], active.shape[-2:], strict=True))
    if rows < 1 or (rows * active.shape[-2], columns * active.shape[-1]) != tuple(like.shape[-2:]):
        raise ConfigError(
            f"a mask of {_by(active)} cells does not fit a feature map of {_by(like)}: a cell must be a whole number of "
            "strides of the encoder, because a deeper feature would otherwise be half masked. Take a larger cell, or "
            "an encoder with a smaller stride (stem_stride 1)."
        )
    return active.repeat_interleave(rows, dim=2).repeat_interleave(columns, dim=3)


def total_stride(network: ResNet) -> int:
    """Return the pixels per deepest feature: 32 with a stem of stride 2, 16 with one of stride 1."""
    return int(network.conv1.stride[0]) * 2 * 8


def _block(block: Any, x: Tensor, active: Tensor) -> Tensor:
    out = block.act(masked_norm(block.bn1, block.conv1(x), active))
    out = masked_norm(block.bn2, block.conv2(out), active)
    if isinstance(block, ResNetBottleneck):
        out = masked_norm(block.bn3, block.conv3(block.act(out)), active)
    if isinstance(block.downsample, nn.Sequential):
        convolution, norm = block.downsample
        x = masked_norm(norm, convolution(x), active)
    elif block.downsample is not None:
        x = block.downsample(x)  # shortcut "A": every second position, and zeros as further channels
    result: Tensor = block.act(out + x)
    return result


def _by(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape[-2:]))
