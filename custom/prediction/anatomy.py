# SPDX-License-Identifier: Apache-2.0
"""Names of places in template space: tissue from the packaged maps, region by rules of thumb, distance to the ventricles.

No atlas of lobes with a free licence is packaged. Regions come from planes and boxes through well-known landmarks in MNI
space (central sulcus, Sylvian fissure, parieto-occipital sulcus, tentorium); near their borders, and in brains that differ
much from the average, they are off by a centimetre or two, which every report says. Tissue is that of the average brain at
the place, not that of the patient.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..volumes.packaged_template import brain_template

REGION_NOTE = (
    "regions are rules of thumb in template space, not an atlas: near their borders they may be off by 1 to 2 cm"
)
_MIDLINE_MM = 4.0
_TISSUE_SHARE = 0.5


@dataclass(frozen=True)
class _Place:
    """Where a finding lies.

    Attributes:
        region: for example "left frontal lobe".
        tissue: "grey matter", "white matter", "fluid" or "mixed tissue", of the average brain.
        ventricle_mm: distance of its nearest voxel to the ventricles of the average brain, 0 if it reaches them.
    """

    region: str
    tissue: str
    ventricle_mm: float


def place_in_template(points_mm: NDArray[np.float64]) -> _Place:
    """Return the place of a finding's voxels ``[n, 3]`` (template space, RAS, mm)."""
    template = brain_template()
    index = np.rint((points_mm - template.affine[:3, 3]) / np.diag(template.affine)[:3]).astype(int)
    index = np.clip(index, 0, np.array(template.mask.shape) - 1)
    i, j, k = index.T
    grey, white = float(template.grey[i, j, k].mean()), float(template.white[i, j, k].mean())
    shares = {"grey matter": grey, "white matter": white, "fluid": 1 - grey - white}
    tissue = max(shares, key=lambda name: shares[name])
    if shares[tissue] < _TISSUE_SHARE:
        tissue = "mixed tissue"
    centre = points_mm.mean(axis=0)
    side = "" if abs(centre[0]) < _MIDLINE_MM else "left " if centre[0] < 0 else "right "
    return _Place(side + region_at(centre), tissue, round(float(_ventricle_distance()[i, j, k].min()), 1))


def region_at(point_mm: NDArray[np.float64]) -> str:
    """Return the region of a point in template space (MNI, RAS, mm).

    >>> [region_at(np.array(p)) for p in ((-30, 40, 20), (40, -60, -40), (25, -90, 5), (50, -10, -20), (-12, 8, 8))]
    ['frontal lobe', 'cerebellum', 'occipital lobe', 'temporal lobe', 'basal ganglia']
    """
    x, y, z = abs(float(point_mm[0])), float(point_mm[1]), float(point_mm[2])
    if x < 18 and -48 < y < -8 and z < -8 - 0.25 * max(-y - 20, 0):
        return "brain stem"
    if x < 18 and -8 <= y < 18 and z < -12:
        return "base of the brain"
    if -92 < y < -36 and z < -20 + 0.6 * max(14 - x, 0):
        return "cerebellum"
    if x < 24 and -34 < y < -2 and -2 < z < 18:
        return "thalamus"
    if x < 30 and -14 < y < 22 and -10 < z < 20:
        return "basal ganglia"
    if x < 42 and -20 < y < 22 and -14 < z < 16:
        return "insula"
    if y < -62 - 0.5 * max(z, 0):
        return "occipital lobe"
    if x > 18 and -62 < y < 24 and z < -10 + 0.5 * (20 - y):
        return "temporal lobe"
    return "frontal lobe" if y > -8 - 0.44 * (z - 20) else "parietal lobe"


@lru_cache(maxsize=1)
def _ventricle_distance() -> NDArray[np.float32]:
    """Return mm to the lateral and third ventricles of the average brain: the large pieces of fluid in its middle."""
    template = brain_template()
    x, y, z = (
        template.affine[axis, 3] + 2 * np.arange(n).reshape([-1 if other == axis else 1 for other in range(3)])
        for axis, n in enumerate(template.mask.shape)
    )
    middle = (np.abs(x) < 42) & (y > -62) & (y < 40) & (z > -22) & (z < 30) & ((np.abs(x) < 26) | (y < -18))
    fluid = template.mask & (template.grey + template.white < 0.5) & middle
    labels, _ = ndimage.label(fluid)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(2 * ndimage.distance_transform_edt(~(sizes > 60)[labels]), dtype=np.float32)
