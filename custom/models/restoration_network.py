# SPDX-License-Identifier: Apache-2.0
"""Network that undoes local corruption of a slice: residual and mask in one pass, with the healthy mean as a part of it.

``[B, C, H, W]`` slabs in [0, 1], their severities and their heights in; ``[B, 2, H, W]`` out: the residual (restored
minus given slice) and the logit of "corrupted here". Inputs are stacked as channels: the slab, the severity as a map,
the healthy mean of the slice's height, and the slice mirrored left to right (the working grid is symmetric); all but
the slab can be switched off. Intensities enter as (v - 0.5) · 4, the residual leaves times 0.1.

The backbone is MONAI's ``DynUNet`` (blocks of two [3x3 convolution, group norm, SiLU]) between a 2x2 space-to-depth
and its inverse, which quarter the cost of the upper level. 1,277,192 parameters with the default channels and all inputs.
"""

from collections.abc import Sequence

import torch
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from ..core.errors import ConfigError

RESIDUAL_SCALE = 0.1


_AGAIN = "backbone.skip_layers."  # MONAI's DynUNet holds each of its layers a second time under this name


def _once(network: nn.Module, state: dict[str, Tensor], prefix: str, local: object) -> None:
    """Leave the second names of layers out of a state dict: files would be twice as large."""
    for name in [name for name in state if name.startswith(prefix + _AGAIN)]:
        del state[name]


def _everywhere(network: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Put the second names back before a state dict is loaded."""
    first: dict[int, str] = {}
    for name, value in network.named_parameters(remove_duplicate=False):
        if not name.startswith(_AGAIN):
            first[id(value)] = name
    for name, value in network.named_parameters(remove_duplicate=False):
        if name.startswith(_AGAIN) and prefix + first[id(value)] in state:
            state[prefix + name] = state[prefix + first[id(value)]]


class RestorationNetwork(nn.Module):
    """Restoration U-Net of slabs.

    Args:
        volume_shape: voxels of the working grid ``[X, Y, Z]``; of the healthy mean.
        channels: width per level, top first.
        groups: of the group norms.
        neighbours: slices on either side of the slice that is restored; 0: 2-D.
        use_severity: whether the assumed severity is an input.
        use_healthy_mean: whether the healthy mean is an input.
        use_mirrored: whether the mirrored slice is an input.

    >>> network = RestorationNetwork((16, 16, 4), channels=(8, 8, 8)).eval()
    >>> network(torch.zeros(2, 3, 16, 16), torch.full((2,), 0.5), torch.tensor([0, 1])).shape[-2:]
    torch.Size([16, 16])
    """

    healthy_mean: Tensor

    def __init__(
        self,
        volume_shape: Sequence[int],
        channels: Sequence[int] = (32, 64, 128, 128),
        groups: int = 8,
        neighbours: int = 1,
        use_severity: bool = True,
        use_healthy_mean: bool = True,
        use_mirrored: bool = True,
    ) -> None:
        super().__init__()
        if len(channels) < 3 or any(width % groups for width in channels):
            raise ConfigError(
                f"a restoration network needs the widths of three or more levels, each a multiple of groups={groups}, got "
                f"channels={tuple(channels)}."
            )
        self.neighbours = neighbours
        self.use_severity, self.use_healthy_mean, self.use_mirrored = use_severity, use_healthy_mean, use_mirrored
        self.factor = 2 ** len(channels)
        inputs = 2 * neighbours + 1 + use_severity + use_healthy_mean + use_mirrored
        levels = len(channels)
        self.fold, self.unfold = nn.PixelUnshuffle(2), nn.PixelShuffle(2)
        self.backbone = DynUNet(
            spatial_dims=2, in_channels=4 * inputs, out_channels=4 * 2, kernel_size=[3] * levels,
            strides=[1] + [2] * (levels - 1), upsample_kernel_size=[2] * (levels - 1), filters=list(channels),
            norm_name=("group", {"num_groups": groups}), act_name="swish",
        )  # fmt: skip
        self.register_buffer("healthy_mean", torch.zeros(tuple(volume_shape)))
        self._register_state_dict_hook(_once)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_everywhere)  # type: ignore[no-untyped-call]

    def with_healthy_mean(self, mean: Tensor) -> "RestorationNetwork":
        """Take ``mean`` ``[X, Y, Z]`` of healthy scans as the healthy mean; return self."""
        if mean.shape != self.healthy_mean.shape:
            raise ConfigError(
                f"the healthy mean has {list(mean.shape)} voxels, the network was made for {list(self.healthy_mean.shape)}."
            )
        self.healthy_mean.copy_(mean)
        return self

    def forward(self, slabs: Tensor, severity: Tensor, heights: Tensor) -> Tensor:
        """Return residual and mask logit ``[B, 2, H, W]`` of the middle slices.

        Args:
            slabs: ``[B, 2 · neighbours + 1, H, W]`` in [0, 1].
            severity: ``[B]`` in (0, 1], how severe the corruption is taken to be.
            heights: ``[B]`` integers, place of the middle slice along the grid's last axis.
        """
        height, width = slabs.shape[2:]
        if slabs.shape[1] != 2 * self.neighbours + 1 or height % self.factor or width % self.factor:
            raise ConfigError(
                f"this network restores slabs of {2 * self.neighbours + 1} slices with edges that are multiples of "
                f"{self.factor}, got {list(slabs.shape[1:])}."
            )
        inputs = [slabs]
        middle = slabs[:, self.neighbours, None]
        if self.use_healthy_mean:
            inputs.append(self.healthy_mean.permute(2, 0, 1).index_select(0, heights)[:, None].to(slabs.dtype))
        if self.use_mirrored:
            inputs.append(middle.flip(2))
        stacked = (torch.cat(inputs, dim=1) - 0.5) * 4
        if self.use_severity:
            level = (severity.to(slabs.dtype) * 2 - 1).view(-1, 1, 1, 1).expand(-1, 1, height, width)
            stacked = torch.cat([stacked, level], dim=1)
        output = self.unfold(self.backbone(self.fold(stacked))).float()
        scale = output.new_tensor([RESIDUAL_SCALE, 1.0]).view(1, 2, 1, 1)
        scaled: Tensor = output * scale
        return scaled
