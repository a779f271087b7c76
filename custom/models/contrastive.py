# SPDX-License-Identifier: Apache-2.0
"""An encoder that tells healthy slices apart and ignores what is masked, erased or planted in them (the "target-invariant"
encoder of Patrício et al., arXiv 2406.00772).

Two views of every slice are compared: the clean slice, and the slice behind an augmentation, a mask, or both. Together
with :class:`.spark.SparK` the masked view is reconstructed too (as in the released code); with an encoder alone the
contrast is all there is (as in the paper's abstract).

The released code passes its "original" view under the mask of the other one, so that both show the same 3 of 9 cells, and
averages the features over all cells, zeros included. ``original_view="masked"`` and ``pool="all"`` do the same; they are
here for reproduction.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from monai.networks.nets import ResNet
from torch import Tensor, nn

from ..core.errors import ConfigError
from .epsilon_infonce import EpsilonInfoNCE, feature_spread
from .masked_loss import MaskedReconstructionLoss
from .masked_resnet import masked_features, total_stride, upsampled
from .spark import MaskedOutput, SparK, check_size


class ContrastiveOutput(NamedTuple):
    """What :class:`ContrastiveEncoder` returns; :class:`ContrastiveLoss` takes it.

    Attributes:
        masked: output of SparK for the second view; None for an encoder alone.
        one: features ``[B, D]`` of the clean view.
        other: features ``[B, D]`` of the second view.
        groups: integers ``[B]``, equal for slices of the same subject; None if that is not known.

    >>> same = ContrastiveOutput(None, one=torch.ones(4, 8), other=torch.ones(4, 8), groups=None)
    >>> print(f"{spread(same):.2f}")
    0.00
    """

    masked: MaskedOutput | None
    one: Tensor
    other: Tensor
    groups: Tensor | None


class ContrastiveEncoder(nn.Module):
    """Two views of a slice through one encoder.

    Args:
        network: makes :class:`.spark.SparK` or, for an encoder alone, a 2-D ``ResNet`` without last layer; a class or
            partial.
        original_view: ``"dense"``: the encoder sees the whole clean slice; ``"masked"``: only the visible cells of the
            second view (published).
        pool: average the deepest features over the ``"active"`` cells, or over ``"all"`` with zeros for the masked ones
            (published).
        projection_dim: length of the output of a head of two layers between features and loss; null for none (published).

    >>> from functools import partial
    >>> network = partial(ResNet, "basic", [1, 1, 1, 1], [16, 16, 16, 16], spatial_dims=2, n_input_channels=1,
    ...                   conv1_t_stride=2, feed_forward=False)
    >>> output = ContrastiveEncoder(network)(torch.rand(2, 1, 64, 64), torch.ones(2, 1, 2, 2, dtype=torch.bool))
    >>> output.one.shape, output.masked is None
    (torch.Size([2, 16]), True)
    """

    def __init__(
        self,
        network: Callable[[], SparK | ResNet],
        original_view: Literal["dense", "masked"] = "dense",
        pool: Literal["active", "all"] = "active",
        projection_dim: int | None = None,
    ) -> None:
        super().__init__()
        if original_view not in ("dense", "masked") or pool not in ("active", "all"):
            raise ConfigError(
                "ContrastiveEncoder takes original_view 'dense' or 'masked' and pool 'active' or 'all', got "
                f"{original_view!r} and {pool!r}."
            )
        made = network()
        self.spark = made if isinstance(made, SparK) else None
        self.bare = None if isinstance(made, SparK) else made
        self.original_view = original_view
        self.pool = pool
        width = int(self.encoder.in_planes)
        self.projection = (
            nn.Identity()
            if projection_dim is None
            else nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection_dim))
        )

    @property
    def encoder(self) -> ResNet:
        """The encoder, which is what stays of the training."""
        return self.bare if self.spark is None else self.spark.encoder

    def forward(
        self, images: Tensor, active: Tensor, view: Tensor | None = None, groups: Tensor | None = None
    ) -> ContrastiveOutput:
        """Return features of both views.

        Args:
            images: clean slices ``[B, 1, H, W]`` in [0, 1].
            active: cells that the second view shows, bool ``[B, 1, rows, columns]``.
            view: slices of the second view; None for the clean ones.
            groups: integers ``[B]``, handed on to the loss.
        """
        view = images if view is None else view
        original = active if self.original_view == "masked" else torch.ones_like(active)
        check_size(images, total_stride(self.encoder))
        masked = None if self.spark is None else self.spark(view, active)
        deepest = masked_features(self.encoder, view, active)[-1] if masked is None else masked.features
        one = self._pooled(masked_features(self.encoder, images, original)[-1], original)
        return ContrastiveOutput(masked, one, self._pooled(deepest, active), groups)

    def _pooled(self, features: Tensor, active: Tensor) -> Tensor:
        if self.pool == "all":
            mean = features.mean(dim=(2, 3))
        else:
            mean = features.sum(dim=(2, 3)) / upsampled(active, features).sum(dim=(2, 3))
        projected: Tensor = self.projection(mean)
        return projected


class ContrastiveLoss(nn.Module):
    """``reconstruction loss + weight x epsilon-InfoNCE`` for :class:`ContrastiveOutput`.

    Args:
        reconstruction: loss of the masked view.
        contrast: loss of the two views.
        weight: of the contrast; 1 in the released code. The masked loss is about 0.01 to 0.05, the contrast -0.5 to 4, so
            their sum says little about the reconstruction: choose checkpoints by the masked loss.

    >>> loss = ContrastiveLoss(MaskedReconstructionLoss(), EpsilonInfoNCE(temperature=0.07, epsilon=0.5), weight=2.0)
    >>> output = ContrastiveOutput(None, one=torch.ones(4, 8), other=torch.ones(4, 8), groups=None)
    >>> print(f"{loss(output, target=torch.zeros(4, 1, 64, 64)):.3f}")
    3.776
    """

    def __init__(self, reconstruction: MaskedReconstructionLoss, contrast: EpsilonInfoNCE, weight: float = 1.0) -> None:
        super().__init__()
        self.reconstruction = reconstruction
        self.contrast = contrast
        self.weight = weight

    def forward(self, output: ContrastiveOutput, target: Tensor) -> Tensor:
        """Return the loss of a batch; ``target`` ``[B, 1, H, W]`` are the clean slices."""
        if not isinstance(output, ContrastiveOutput):
            raise ConfigError(f"ContrastiveLoss needs the output of ContrastiveEncoder, got a {type(output).__name__}.")
        loss: Tensor = self.weight * self.contrast(output.one, output.other, output.groups)
        return loss if output.masked is None else loss + self.reconstruction(output.masked, target)


def masked_loss(output: ContrastiveOutput, target: Tensor, loss: MaskedReconstructionLoss) -> Tensor:
    """Return the reconstruction loss of ``output`` alone."""
    if output.masked is None:
        raise ConfigError("this encoder is trained without reconstruction; choose its checkpoint by the contrast.")
    result: Tensor = loss(output.masked, target)
    return result


def contrast(output: ContrastiveOutput, target: Tensor, loss: EpsilonInfoNCE) -> Tensor:
    """Return the contrastive loss of ``output`` alone; ``target`` is not needed."""
    result: Tensor = loss(output.one, output.other, output.groups)
    return result


def spread(output: ContrastiveOutput, target: Tensor | None = None) -> Tensor:
    """Return the spread of the clean view's features in [0, 1]; near 0 the encoder has collapsed."""
    return feature_spread(output.one)
