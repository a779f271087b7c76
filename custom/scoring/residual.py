# SPDX-License-Identifier: Apache-2.0
"""Residual scores of an image x and its reconstruction x̂, voxel by voxel, and the check of inputs all scores share.

``l1`` = |x - x̂| is the score of most reconstruction methods and the baseline of Behrendt et al. (ISBI 2024); ``l2`` =
(x - x̂)². Checked against numpy and against hand-made faults in the inputs.
"""

import torch
from torch import Tensor

from ..core.errors import DataError
from .reconstructions import Reconstructions


def check_pair(image: Tensor, reconstruction: Tensor | Reconstructions) -> tuple[Tensor, Tensor]:
    """Return both as plain floating tensors of one dtype (float32 at least), or say why they cannot be compared.

    Args:
        image: ``[X, Y, Z]``, ``[1, X, Y, Z]`` or ``[B, 1, X, Y, Z]``.
        reconstruction: same shape; of several :class:`Reconstructions`, the mean.

    Raises:
        DataError: shapes differ, are not volumes, or a value is NaN or infinite (through the data range one such
            voxel would spoil the whole map).
    """
    if isinstance(reconstruction, Reconstructions):
        reconstruction = reconstruction.mean
    if image.shape != reconstruction.shape:
        raise DataError(
            f"The image is {list(image.shape)} but its reconstruction {list(reconstruction.shape)}: a score compares "
            "them voxel by voxel. Bring both to the same grid (and [B, 1, X, Y, Z] order) first."
        )
    channels = {3: 1, 4: image.shape[0], 5: image.shape[1]}.get(image.ndim) if image.ndim > 2 else None
    if channels != 1 or image.numel() == 0:
        raise DataError(
            f"A score needs volumes [X, Y, Z] or [B, 1, X, Y, Z] with at least one voxel, got {list(image.shape)}. "
            "Stack the slices of a case along the last axis and score one contrast at a time."
        )
    dtype = torch.promote_types(torch.promote_types(image.dtype, reconstruction.dtype), torch.float32)
    pair = [tensor.as_subclass(Tensor).to(dtype) for tensor in (image, reconstruction)]
    for name, tensor in zip(("image", "reconstruction"), pair, strict=True):
        if not torch.isfinite(tensor.sum()) and (bad := ~torch.isfinite(tensor)).any():
            raise DataError(
                f"The {name} has {int(bad.sum())} voxel(s) that are NaN or infinite, first at index "
                f"{bad.nonzero()[0].tolist()}: its anomaly map would be meaningless. "
                + ("Repair the scan." if name == "image" else "Check the network's weights and its precision.")
            )
    return pair[0], pair[1]


@torch.no_grad()
def l1(image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
    """Absolute residual |x - x̂|, in units of intensity."""
    image, reconstruction = check_pair(image, reconstruction)
    return (image - reconstruction).abs_()


@torch.no_grad()
def l2(image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
    """Squared residual (x - x̂)², in units of squared intensity."""
    image, reconstruction = check_pair(image, reconstruction)
    return (image - reconstruction).square_()
