# SPDX-License-Identifier: Apache-2.0
"""What a mask says in words and numbers: connected findings, their volume, place and strength."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MIDDLE_MM = 5.0
_NAMES = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))


@dataclass(frozen=True)
class Finding:
    """One connected region (26-neighbourhood).

    Attributes:
        volume_ml: its volume.
        centre_mm: its centre of mass in the scan's world coordinates (RAS).
        where: direction from the centre of the brain.
        peak: greatest anomaly score in it.
    """

    volume_ml: float
    centre_mm: tuple[float, float, float]
    where: str
    peak: float

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"centre_mm": list(self.centre_mm)}


def find_findings(
    mask: NDArray[Any], scores: NDArray[Any], affine: NDArray[np.float64], brain_centre_mm: NDArray[np.float64]
) -> list[Finding]:
    """Return the findings in a mask ``[X, Y, Z]``, the largest first."""
    places = np.argwhere(mask > 0)
    if not len(places):
        return []
    low, high = places.min(axis=0), places.max(axis=0) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    labels, count = ndimage.label(mask[box] > 0, structure=np.ones((3, 3, 3)))
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    numbers = range(1, count + 1)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    peaks = ndimage.maximum(scores[box], labels, numbers)
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, numbers)) + low
    world = centres @ affine[:3, :3].T + affine[:3, 3]
    found = [
        Finding(
            round(float(size) * voxel_ml, 3),
            (round(float(x), 1), round(float(y), 1), round(float(z), 1)),
            place_of(np.array([x, y, z]) - brain_centre_mm),
            float(peak),
        )
        for size, peak, (x, y, z) in zip(sizes, peaks, world, strict=True)
    ]
    return sorted(found, key=lambda finding: -finding.volume_ml)


def place_of(offset_mm: NDArray[np.float64]) -> str:
    """Say where a point lies from the centre of the brain (RAS, mm); within 5 mm an axis counts as the middle.

    >>> place_of(np.array([-30.0, 2.0, 12.0]))
    'left, superior'
    """
    words = [
        below if offset < 0 else above
        for offset, (below, above) in zip(offset_mm, _NAMES, strict=True)
        if abs(offset) > MIDDLE_MM
    ]
    return ", ".join(words) or "central"
