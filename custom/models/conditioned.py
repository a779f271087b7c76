# SPDX-License-Identifier: Apache-2.0
"""A diffusion network that sees, beside the noised slice, a description of the clean one (cDDPM, Behrendt et al.,
arXiv 2312.04215): an encoder maps the slice to a vector, which scales and shifts the features of the U-Net.

The encoder is MONAI's ``ResNet``. With ``block "bottleneck"``, ``layers [3, 4, 6, 3]``, ``conv1_t_stride 2``,
``bias_downsample false``, one input channel and 128 classes it has **23,764,032** parameters and the keys of
torchvision's and timm's ResNet-50; MONAI's defaults (stride 1, biased shortcuts) are another network.

Deviations from the released code: its stochastic depth of 0.05 (a side effect of a default) is not rebuilt, and the last
batch normalisation of a residual block starts at 1, not at 0 as in timm.
"""

from typing import Literal, get_args

from monai.networks.nets import ResNet
from torch import Tensor, nn

from ..core.errors import ConfigError
from .film_unet import FiLMUNet

EncoderTraining = Literal["finetune", "frozen", "frozen_backbone"]


class ConditionedDiffusion(nn.Module):
    """``forward(x, timesteps, image)``: the U-Net's prediction for ``x``, conditioned on the encoder's view of ``image``.

    Args:
        encoder: 2-D network from slices to vectors ``[B, condition_dim]``.
        unet: network with the same ``condition_dim``.
        encoder_training: ``"finetune"``: the encoder is trained too (the papers' choice). ``"frozen"``: neither its
            weights nor its running statistics change. ``"frozen_backbone"``: only its last layer ``fc`` is trained,
            which no pre-training fills.

    Batch normalisation in the encoder takes its statistics from the slices of one process. In a distributed training
    "several processes equal one" therefore holds for the frozen modes only.
    """

    def __init__(self, encoder: ResNet, unet: FiLMUNet, encoder_training: EncoderTraining = "finetune") -> None:
        super().__init__()
        if encoder_training not in get_args(EncoderTraining):
            raise ConfigError(
                f"encoder_training must be one of {', '.join(get_args(EncoderTraining))}, got {encoder_training!r}."
            )
        width = feature_width(encoder) if encoder.fc is None else encoder.fc.out_features
        if width != unet.condition_dim:
            raise ConfigError(
                f"the encoder gives {width} numbers and the U-Net takes {unet.condition_dim}; set condition_dim and the "
                "encoder's num_classes to the same number."
            )
        if encoder_training == "frozen_backbone" and encoder.fc is None:
            raise ConfigError('encoder_training "frozen_backbone" trains the encoder\'s last layer, but it has none.')
        self.encoder = encoder
        self.unet = unet
        self.encoder_training = encoder_training
        if encoder_training != "finetune":
            encoder.requires_grad_(False)
            if encoder_training == "frozen_backbone":
                encoder.fc.requires_grad_(True)
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


def feature_width(encoder: ResNet) -> int:
    """Return the number of features that a ``ResNet`` hands to its last layer."""
    return int(encoder.in_planes)
