# SPDX-License-Identifier: Apache-2.0
"""A diffusion network that sees, beside the noised slice, a description of the clean one (cDDPM, Behrendt et al.,
arXiv 2312.04215): an encoder maps the slice to a vector, which scales and shifts the features of the U-Net.

The encoder is MONAI's ``ResNet``. With ``block "bottleneck"``, ``layers [3, 4, 6, 3]``, ``conv1_t_stride 2``,
``bias_downsample false``, one input channel and 128 classes it has **23,764,032** parameters and the keys of
torchvision's and timm's ResNet-50; MONAI's defaults (stride 1, biased shortcuts) are another network.

Deviations from the released code: its stochastic depth of 0.05 (a side effect of a default) is not rebuilt, and the last
batch normalisation of a residual block starts at 1, not at 0 as in timm.
"""

from collections.abc import Callable
from typing import Literal, get_args

from monai.networks.nets import ResNet
from torch import Tensor, nn

from ..core.errors import ConfigError
from .film_unet import FiLMUNet

EncoderTraining = Literal["finetune", "frozen", "frozen_backbone"]


class ConditionedDiffusion(nn.Module):
    """``forward(x, timesteps, image)``: the U-Net's prediction for ``x``, conditioned on the encoder's view of ``image``.

    Args:
        condition_dim: length of the vector between the two.
        encoder: makes the 2-D encoder, a class or partial that takes ``num_classes``, the length of its output.
        unet: makes the U-Net, a class or partial that takes ``condition_dim``.
        encoder_training: ``"finetune"``: the encoder is trained too (the papers' choice). ``"frozen"``: neither its
            weights nor its running statistics change. ``"frozen_backbone"``: only its last layer ``fc`` is trained,
            which no pre-training fills.

    >>> import torch
    >>> from functools import partial
    >>> encoder = partial(ResNet, "basic", [1, 1, 1, 1], [16, 16, 16, 16], spatial_dims=2, n_input_channels=1, conv1_t_stride=2)
    >>> unet = partial(FiLMUNet, spatial_dims=2, in_channels=1, out_channels=1, channels=[32, 32], num_res_blocks=1,
    ...                attention_levels=[False, False], num_head_channels=32)
    >>> network, slices = ConditionedDiffusion(8, encoder, unet), torch.rand(2, 1, 32, 32)
    >>> network(2 * slices - 1, torch.tensor([5, 6]), image=slices).shape
    torch.Size([2, 1, 32, 32])

    Batch normalisation in the encoder takes its statistics from the slices of one process. In a distributed training
    "several processes equal one" therefore holds for the frozen modes only.
    """

    def __init__(
        self,
        condition_dim: int,
        encoder: Callable[..., ResNet],
        unet: Callable[..., FiLMUNet],
        encoder_training: EncoderTraining = "finetune",
    ) -> None:
        super().__init__()
        if encoder_training not in get_args(EncoderTraining):
            raise ConfigError(
                f"encoder_training must be one of {', '.join(get_args(EncoderTraining))}, got {encoder_training!r}."
            )
        self.encoder = encoder(num_classes=condition_dim)
        self.unet = unet(condition_dim=condition_dim)
        self.encoder_training = encoder_training
        has_layer = self.encoder.fc is not None
        if not has_layer and self.encoder.in_planes != condition_dim:
            raise ConfigError(
                f"the encoder has no last layer and gives {self.encoder.in_planes} numbers, the U-Net takes {condition_dim}; "
                f"set condition_dim to {self.encoder.in_planes}, or feed_forward to true."
            )
        if encoder_training == "frozen_backbone" and not has_layer:
            raise ConfigError('encoder_training "frozen_backbone" trains the encoder\'s last layer, but it has none.')
        if encoder_training != "finetune":
            self.encoder.requires_grad_(False)
            if encoder_training == "frozen_backbone":
                self.encoder.fc.requires_grad_(True)
        self.train()

    def forward(self, x: Tensor, timesteps: Tensor, image: Tensor) -> Tensor:
        """Return the prediction, shaped as ``x``.

        Args:
            x: noised slices ``[B, 1, H, W]``, scaled to [-1, 1]; H and W are multiples of 2 to the number of levels - 1.
            timesteps: ``[B]``.
            image: clean slices ``[B, 1, H, W]`` in [0, 1].
        """
        prediction: Tensor = self.unet(x, timesteps=timesteps, class_labels=self.encoder(image))
        return prediction

    def train(self, mode: bool = True) -> "ConditionedDiffusion":
        """Set the mode; an encoder that is not trained stays in evaluation mode, so its running statistics stay."""
        super().train(mode)
        if self.encoder_training != "finetune":
            self.encoder.eval()
        return self
