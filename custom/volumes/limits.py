# SPDX-License-Identifier: Apache-2.0
"""How large a scan may be: judged from its header, before any memory is taken."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from ..core.memory import available_memory

MAX_VOXELS = 1024**3
SPACING_MM = (0.1, 20.0)
_BYTES_PER_VOXEL = 24  # stored voxels, float32 in two axis orders, masks, a connected-component image


def check_size(shape: Sequence[int], name: str, case: str) -> None:
    """Raise a ``DataError`` if a scan of ``shape`` is larger than any brain scan, or than this machine's memory."""
    voxels = int(np.prod([int(n) for n in shape], dtype=object))
    if voxels > MAX_VOXELS:
        raise DataError.of(
            "too-large", f"{name}: the header claims {list(shape)} voxels, more than the limit of {MAX_VOXELS}", case
        )
    need, there = voxels * _BYTES_PER_VOXEL, available_memory()
    if need > there:
        raise DataError.of(
            "too-large",
            f"{name}: {list(shape)} voxels need about {need / 2**30:.1f} GiB of memory, {there / 2**30:.1f} GiB are free",
            case,
        )


def check_spacing(affine: NDArray[np.float64], name: str, case: str) -> None:
    """Raise a ``DataError`` if a voxel is smaller or larger than in any scan of a head.

    Files that do not state their unit of length are read as mm: in any other unit these limits would be broken.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.all((spacing >= SPACING_MM[0]) & (spacing <= SPACING_MM[1])):
        found = " x ".join(f"{s:.3g}" for s in spacing)
        raise DataError.of(
            "bad-spacing",
            f"{name}: the voxel size is {found} mm, expected {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm along each axis (is it "
            "stated in another unit?)",
            case,
        )
