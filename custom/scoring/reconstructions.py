# SPDX-License-Identifier: Apache-2.0
"""What a score compares an image with: one or several reconstructions and, where a network marks anomalies, its mask.

Every score takes it in the place of a single reconstruction; scores of pairs use the mean. Inferers hand it over as
channels ``[n (+ 1), X, Y, Z]``; those whose last channel is the mask's probability say so by ``has_mask_channel``.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..core.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Reconstructions:
    """Pseudo-healthy counterparts of one image.

    Attributes:
        volumes: ``[n, X, Y, Z]``, n >= 1: noise draws, timesteps or severities.
        mask_probability: ``[X, Y, Z]`` in [0, 1], how likely a voxel is anomalous, or None.

    >>> Reconstructions.from_channels(torch.ones(3, 4, 4, 2), has_mask_channel=True).mean.shape
    torch.Size([4, 4, 2])
    """

    volumes: Tensor
    mask_probability: Tensor | None = None

    def __post_init__(self) -> None:
        if self.volumes.ndim != 4 or not len(self.volumes):
            raise DataError(
                f"reconstructions of an image must be [n, X, Y, Z] with n >= 1, got {list(self.volumes.shape)}."
            )

    @classmethod
    def from_channels(cls, channels: Tensor, has_mask_channel: bool = False) -> "Reconstructions":
        """Take the channels ``[n (+ 1), X, Y, Z]`` of an inferer apart."""
        plain = channels.as_subclass(Tensor)
        return cls(plain[:-1], plain[-1]) if has_mask_channel else cls(plain)

    @cached_property
    def mean(self) -> Tensor:
        """The mean reconstruction ``[X, Y, Z]``."""
        return self.volumes[0] if len(self.volumes) == 1 else self.volumes.mean(dim=0)

    @property
    def required_mask(self) -> Tensor:
        """The mask's probability.

        Raises:
            ConfigError: the method marks nothing.
        """
        if self.mask_probability is None:
            raise ConfigError(
                "this score needs the mask of a network that marks anomalies, and the method has none; take another score "
                "such as l1."
            )
        return self.mask_probability


def as_reconstructions(reconstruction: Tensor | Reconstructions) -> Reconstructions:
    """Take a volume ``[X, Y, Z]`` as the only reconstruction."""
    if isinstance(reconstruction, Reconstructions):
        return reconstruction
    return Reconstructions(torch.as_tensor(reconstruction)[None])
