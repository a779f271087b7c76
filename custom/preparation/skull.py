# SPDX-License-Identifier: Apache-2.0
"""Tell a scan with the skull on from an extracted brain.

Models of extracted brains see a skull as one large anomaly, so such scans are refused. Three signs, each from the
foreground (voxels that are not background, holes filled) at 3 mm; two of them decide:

==================  ==================================  =====================  ===========================
sign                meaning                             extracted, prepared    raw scans (MSLUB, T1 T2 FLAIR)
==================  ==================================  =====================  ===========================
volume above 2 l    a head, not a brain                 1.4 - 1.5 l            2.4 - 2.8 l
depth above 62 mm   no brain is that thick              46 - 54 mm             71 - 76 mm, also cropped ones
dark shell, 14 %    bone 4 to 16 mm below the surface   0 - 10 %               17 - 79 %
==================  ==================================  =====================  ===========================

A scan whose background is not zero at all cannot be an extracted brain either.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.errors import DataError

STEP_MM = 3.0
MAX_BRAIN_ML = 2000.0
MAX_DEPTH_MM = 62.0
MAX_DARK_SHELL = 0.14
MAX_BORDER = 0.5
_DARK = 0.35
_BACKGROUND = 0.02


@dataclass(frozen=True)
class SkullSigns:
    """What was measured on a scan, see the table above.

    Attributes:
        volume_ml: of the foreground.
        depth_mm: greatest depth of the foreground.
        dark_shell: share of dark voxels 4 to 16 mm below the surface, in [0, 1].
        border: share of foreground at the sides of the volume, in [0, 1].

    >>> SkullSigns(volume_ml=2600, depth_mm=73, dark_shell=0.3, border=0.1).skull_on
    True
    """

    volume_ml: float
    depth_mm: float
    dark_shell: float
    border: float

    @property
    def skull_on(self) -> bool:
        """Whether this is a head rather than a brain."""
        signs = (self.volume_ml > MAX_BRAIN_ML, self.depth_mm > MAX_DEPTH_MM, self.dark_shell > MAX_DARK_SHELL)
        return sum(signs) >= 2 or self.border > MAX_BORDER


def skull_signs(image: NDArray[np.float32], spacing_mm: NDArray[np.float64]) -> SkullSigns:
    """Measure the signs on a scan ``[X, Y, Z]``."""
    fine = spacing_mm < STEP_MM
    smoothed = ndimage.gaussian_filter(image, np.where(fine, 0.4 * STEP_MM / spacing_mm, 0))
    coarse = ndimage.zoom(smoothed, np.where(fine, spacing_mm / STEP_MM, 1), order=1)
    spacing = spacing_mm * np.array(image.shape) / np.array(coarse.shape)
    foreground = coarse > _BACKGROUND * np.percentile(coarse, 99)
    labels, count = ndimage.label(foreground)
    if count == 0:
        return SkullSigns(0.0, 0.0, 0.0, 0.0)
    head = ndimage.binary_fill_holes(labels == np.bincount(labels.ravel())[1:].argmax() + 1)
    if head.all():
        return SkullSigns(float(head.size * spacing.prod() / 1000), 0.0, 0.0, 1.0)
    depth = ndimage.distance_transform_edt(head, sampling=spacing)
    inner = coarse[head & (depth > min(20.0, 0.6 * float(depth.max())))]
    shell = coarse[head & (depth > 4) & (depth < 16)]
    dark = float((shell < _DARK * np.median(inner)).mean()) if shell.size else 0.0
    border = np.concatenate([head[[0, -1]].ravel(), head[:, [0, -1]].ravel()]).mean()
    return SkullSigns(float(head.sum() * spacing.prod() / 1000), float(depth.max()), dark, float(border))


def refuse_skull(image: NDArray[np.float32], spacing_mm: NDArray[np.float64], case: str) -> None:
    """Raise a ``DataError`` with the remedy if ``image`` has its skull on."""
    signs = skull_signs(image, spacing_mm)
    if signs.skull_on:
        raise DataError(
            f"the scan still has its skull (foreground {signs.volume_ml / 1000:.1f} l, {signs.depth_mm:.0f} mm deep, dark "
            f"shell {signs.dark_shell:.0%}); the model knows extracted brains only and would mark the whole rim. Extract "
            "the brain first (for example with HD-BET or SynthStrip), or give its mask (--mask)",
            case=case,
        )
