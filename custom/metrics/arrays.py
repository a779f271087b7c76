# SPDX-License-Identifier: Apache-2.0
"""The door of the metrics: numpy arrays or torch tensors in, plain checked numpy arrays out.

A score map is real and finite; a binary volume (truth, prediction, region) is bool or holds whole numbers, and whatever
is > 0 is foreground. Fractions in a binary volume mean that a segmentation was interpolated: refused, because ``> 0``
would dilate it.
"""

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.errors import DataError

Array: TypeAlias = NDArray[Any] | torch.Tensor
Mask: TypeAlias = NDArray[np.bool_]


def to_numpy(array: Array) -> NDArray[Any]:
    """Return the values as a numpy array, without a copy if they already lie in main memory."""
    if isinstance(array, torch.Tensor):
        return np.asarray(array.detach().as_subclass(torch.Tensor).cpu().numpy())
    return np.asarray(array)


def to_tensor(array: Array) -> torch.Tensor:
    """Return the values as a plain tensor where they are; a read-only array (a memory map) is copied."""
    if isinstance(array, torch.Tensor):
        return array.detach().as_subclass(torch.Tensor)
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def above_zero(array: Array) -> torch.Tensor:
    """Return where the values are > 0, bool; bool values are passed through, comparing them would cost a pass."""
    tensor = to_tensor(array)
    return tensor if tensor.dtype == torch.bool else tensor > 0


def to_scores(array: Array, name: str = "anomaly map") -> NDArray[Any]:
    """Return real numbers, all finite."""
    values = to_numpy(array)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float32)
    if values.size and not np.isfinite(values.sum(dtype=np.float64)):
        raise DataError(
            f"The {name} has {int((~np.isfinite(values)).sum())} value(s) that are NaN or infinite: no ranking or mean "
            "of it has a meaning. Check the image and the network's output of this case."
        )
    return values


def to_mask(array: Array, shape: tuple[int, ...] | None = None, name: str = "truth") -> Mask:
    """Return a bool array; ``shape`` is the one it must have."""
    values = to_numpy(array)
    if shape is not None and values.shape != shape:
        raise DataError(
            f"The {name} is {list(values.shape)} but belongs to a volume of {list(shape)}: voxels cannot be compared "
            "one by one. Bring both to the same grid."
        )
    if values.dtype == np.bool_:
        return values
    if np.issubdtype(values.dtype, np.floating) and not np.array_equal(values, np.rint(values)):
        raise DataError(
            f"The {name} has values that are no whole numbers: it was interpolated, and taking all above 0 would "
            "dilate it. Resample labels with nearest neighbours, or binarise it explicitly."
        )
    return np.asarray(values > 0)


def inside(values: NDArray[Any], truth: Array, region: Array | None) -> tuple[NDArray[Any], Mask]:
    """Return ``values`` and the truth as 1-D arrays over the voxels of ``region`` (None: every voxel)."""
    wanted = to_mask(truth, values.shape)
    if region is None:
        return values.ravel(), wanted.ravel()
    chosen = to_mask(region, values.shape, "region")
    return values[chosen], wanted[chosen]
