# SPDX-License-Identifier: Apache-2.0
"""What may be wrong with voxels; the reader raises the first fault, the check of a data root lists all of them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .scan import Note

INTEGER_TOLERANCE = 1e-3
_FEW_VALUES = 8
_SAMPLES = 50_000
_NEAR_TOP, _MAX_AT_TOP = 0.99, 0.15


def scan_faults(voxels: NDArray[np.float32]) -> Iterator[Note]:
    """Yield the faults of the intensities of a scan."""
    if not np.isfinite(voxels.sum(dtype=np.float64)):
        for name, code, bad in (
            ("NaN", "nan-voxels", np.isnan(voxels)),
            ("infinite", "infinite-voxels", np.isinf(voxels)),
        ):
            if count := int(bad.sum()):
                first = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
                yield Note(code, f"{count} {name} voxels, the first at index {first}")
        return
    low, high = float(voxels.min()), float(voxels.max())
    if low == high:
        yield Note("no-signal", f"no signal: every voxel is {low:g}")
    else:
        yield from _not_a_scan(voxels, low, high)


def label_faults(voxels: NDArray[np.float32]) -> Iterator[Note]:
    """Yield the faults of a mask or segmentation: values between labels, below 0, several labels."""
    if not np.isfinite(voxels.sum(dtype=np.float64)):
        yield from scan_faults(voxels)
        return
    fractional = np.abs(voxels - np.rint(voxels)) > INTEGER_TOLERANCE
    low = float(voxels.min())
    if fractional.any():
        yield Note(
            "label-values", f"values such as {float(voxels[fractional].flat[0]):.3g}, not whole labels from 0 up"
        )
    elif low < -INTEGER_TOLERANCE:
        yield Note("label-values", f"values down to {low:g}, not whole labels from 0 up")
    elif float(voxels.max()) > 1 and (present := np.unique(np.rint(voxels))).size > 2:
        yield Note("label-merged", f"labels {', '.join(f'{v:g}' for v in present[:10])}")


def _not_a_scan(voxels: NDArray[np.float32], low: float, high: float) -> Iterator[Note]:
    """A mask has few values; in a probability map many voxels are certain, that is, all at the top."""
    flat = voxels.ravel(order="K")
    if np.unique(flat[:: max(1, flat.size // _SAMPLES)]).size <= _FEW_VALUES:
        count = np.unique(flat).size
        if count <= _FEW_VALUES:
            yield Note("not-a-scan", f"only {count} different values: this looks like a mask or segmentation")
            return
    signal = flat[flat > low + 1e-4 * (high - low)]
    at_top = float((signal >= low + _NEAR_TOP * (high - low)).mean())
    if at_top > _MAX_AT_TOP:
        what = f"{at_top:.0%} of the voxels have the highest value: this looks like a probability map or soft mask"
        yield Note("not-a-scan", what)
