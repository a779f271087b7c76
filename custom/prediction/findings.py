# SPDX-License-Identifier: Apache-2.0
"""What a mask says in words and numbers: connected findings, their volume, place and strength.

Findings are ordered by their burden, which is volume times the mean score above the threshold: a large region that is
clearly abnormal comes before a few voxels with the highest score.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..volumes.resampling import voxel_ml_of
from .anatomy import place_in_template

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
        burden: sum over its volume of the score above the threshold, in ml times score.
        region: side and region, where the scan's place in template space is known.
        tissue: of the average brain at this place, where that is known.
        ventricle_mm: distance to the ventricles of the average brain, where that is known.

    >>> scores = np.zeros((4, 4, 4))
    >>> scores[1:3, 1:3, 1:3] = 0.4
    >>> (finding,) = find_findings(scores > 0.3, scores, np.diag([2.0, 2, 2, 1]), brain_centre_mm=np.array([30.0, 3, 3]))
    >>> finding.volume_ml, finding.centre_mm, finding.words
    (0.064, (3.0, 3.0, 3.0), 'left')
    """

    volume_ml: float
    centre_mm: tuple[float, float, float]
    where: str
    peak: float
    burden: float = 0.0
    region: str | None = None
    tissue: str | None = None
    ventricle_mm: float | None = None

    @property
    def words(self) -> str:
        """Where it lies: region and tissue, or the direction from the centre of the brain."""
        return f"{self.region}, {self.tissue}" if self.region else self.where

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"centre_mm": list(self.centre_mm), "words": self.words}


def find_findings(
    mask: NDArray[Any],
    scores: NDArray[Any],
    affine: NDArray[np.float64],
    brain_centre_mm: NDArray[np.float64],
    threshold: float = 0.0,
    template_to_scan: NDArray[np.float64] | None = None,
) -> list[Finding]:
    """Return the findings in a mask ``[X, Y, Z]`` (> 0), the one with the greatest burden first.

    ``affine`` takes voxels to the scan's world (RAS, mm), in which the brain's centre lies and to which
    ``template_to_scan`` leads; ``threshold`` is what the mask was cut at.
    """
    boxes = ndimage.find_objects((mask > 0).view(np.uint8))
    if not boxes:
        return []
    (box,) = boxes
    low = [axis.start for axis in box]
    labels, _ = ndimage.label(mask[box] > 0, structure=np.ones((3, 3, 3)))
    voxel_ml = voxel_ml_of(affine)
    found = []
    for number, part in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[part] == number
        start = [axis.start for axis in part]
        world = (np.argwhere(inside) + low + start) @ affine[:3, :3].T + affine[:3, 3]
        values = scores[box][part][inside]
        x, y, z = (round(float(value), 1) for value in world.mean(axis=0))
        found.append(
            Finding(
                round(len(world) * voxel_ml, 3),
                (x, y, z),
                place_of(world.mean(axis=0) - brain_centre_mm),
                float(values.max()),
                round(float(np.maximum(values - threshold, 0).sum()) * voxel_ml, 6),
                **_named(world, template_to_scan),
            )
        )
    return sorted(found, key=lambda finding: (-finding.burden, -finding.volume_ml))


def _named(world_mm: NDArray[np.float64], template_to_scan: NDArray[np.float64] | None) -> dict[str, Any]:
    if template_to_scan is None:
        return {}
    to_template = np.linalg.inv(template_to_scan)
    return asdict(place_in_template(world_mm @ to_template[:3, :3].T + to_template[:3, 3]))


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
