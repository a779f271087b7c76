# SPDX-License-Identifier: Apache-2.0
"""U-Net of the diffusion papers of Behrendt et al.: timestep and condition as scale and shift in every residual block.

With e_t the embedding of the timestep and c a vector that describes the slice (cDDPM, Behrendt et al.,
arXiv 2312.04215, section 3.2; the form of the released code)::

    e = [e_t | MLP(c)]                                        MLP: Linear, SiLU, Linear;  e = e_t without a condition
    gamma, beta = Linear(SiLU(e))                              one pair per channel and residual block
    h = conv1(SiLU(GroupNorm(x)));  h = conv2(SiLU(GroupNorm(h) (1 + gamma) + beta));  skip(x) + h

MONAI's ``DiffusionModelUNet`` adds the projected embedding *before* the second group normalisation, which removes
shifts that the channels of a group share. Here its residual blocks are exchanged when the network is built; its
``forward`` is the stock one. MONAI sums the embeddings of timestep and class, so each is padded with zeros where the
other one stands: their sum is the concatenation e.

Parameters with channels 128/256/256 and 3 residual blocks per level: **37,513,857** without condition, **43,871,873**
with 128 and **44,068,481** with 512 numbers, as the released code; ``DiffusionModelUNet`` has 34,493,313.

Deviations: the released code initialises the output projection of its attention with zeros, MONAI does not; its
epsilon of the group normalisation is 1e-5 (MONAI's default: 1e-6), so set ``norm_eps``.
"""

from typing import Any

import torch.nn.functional as F
from monai.networks.nets import DiffusionModelUNet
from monai.networks.nets.diffusion_model_unet import DiffusionUNetResnetBlock
from torch import Tensor, nn

from ..core.errors import ConfigError


class FiLMResnetBlock(DiffusionUNetResnetBlock):
    """MONAI's residual block with scale and shift behind the second group normalisation.

    Args:
        temb_channels: length of the embedding e.
        **kwargs: see MONAI's ``DiffusionUNetResnetBlock``.

    >>> import torch
    >>> block = FiLMResnetBlock(spatial_dims=2, in_channels=32, out_channels=64, temb_channels=8)
    >>> block(torch.zeros(2, 32, 4, 4), torch.zeros(2, 8)).shape
    torch.Size([2, 64, 4, 4])
    """

    def __init__(self, *, temb_channels: int, **kwargs: Any) -> None:
        super().__init__(temb_channels=temb_channels, **kwargs)
        self.time_emb_proj = nn.Linear(temb_channels, 2 * self.out_channels)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Return the features ``[B, out_channels, H, W]`` for ``x`` ``[B, C, H, W]`` and ``emb`` ``[B, temb_channels]``."""
        h = self.nonlinearity(self.norm1(x))
        move = self.upsample or self.downsample
        if move is not None:
            x, h = move(x), move(h)
        h = self.norm2(self.conv1(h))
        embedded = self.time_emb_proj(self.nonlinearity(emb))
        scale, shift = embedded.reshape(*embedded.shape, *[1] * self.spatial_dims).chunk(2, dim=1)
        output: Tensor = self.skip_connection(x) + self.conv2(self.nonlinearity(h * (1 + scale) + shift))
        return output


class FiLMUNet(DiffusionModelUNet):
    """``DiffusionModelUNet`` with :class:`FiLMResnetBlock` and, optionally, a vector as condition.

    Args:
        condition_dim: length of the condition, which ``forward`` takes as ``class_labels`` ``[B, condition_dim]``;
            None for a network without condition.
        **kwargs: see MONAI's ``DiffusionModelUNet``, without ``num_class_embeds``.

    >>> import torch
    >>> network = FiLMUNet(condition_dim=8, spatial_dims=2, in_channels=1, out_channels=1, channels=[32, 32],
    ...                    attention_levels=[False, False], num_res_blocks=1, num_head_channels=32)
    >>> network(torch.zeros(3, 1, 16, 16), torch.tensor([5, 6, 7]), class_labels=torch.zeros(3, 8)).shape
    torch.Size([3, 1, 16, 16])
    """

    def __init__(self, *, condition_dim: int | None = None, **kwargs: Any) -> None:
        if "num_class_embeds" in kwargs:
            raise ConfigError("FiLMUNet takes condition_dim, the length of a vector, instead of num_class_embeds.")
        if condition_dim is not None and condition_dim < 1:
            raise ConfigError(f"condition_dim must be a positive number or null, got {condition_dim}.")
        super().__init__(num_class_embeds=None if condition_dim is None else 1, **kwargs)
        self.condition_dim = condition_dim
        width: int = self.time_embed[0].out_features
        if condition_dim is not None:
            self.time_embed.append(_ZeroPad(0, width))
            self.class_embedding = nn.Sequential(
                nn.Linear(condition_dim, width), nn.SiLU(), nn.Linear(width, width), _ZeroPad(width, 0)
            )
        _exchange_blocks(self, width if condition_dim is None else 2 * width)


class _ZeroPad(nn.Module):
    """Put zeros before and behind a vector."""

    def __init__(self, before: int, behind: int) -> None:
        super().__init__()
        self.widths = (before, behind)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.widths)


def _exchange_blocks(parent: nn.Module, temb_channels: int) -> None:
    for name, child in list(parent.named_children()):
        if isinstance(child, DiffusionUNetResnetBlock):
            block = FiLMResnetBlock(
                temb_channels=temb_channels,
                spatial_dims=child.spatial_dims, in_channels=child.channels, out_channels=child.out_channels,
                up=child.up, down=child.downsample is not None,
                norm_num_groups=child.norm1.num_groups, norm_eps=child.norm1.eps,
            )  # fmt: skip
            setattr(parent, name, block)
        else:
            _exchange_blocks(child, temb_channels)
