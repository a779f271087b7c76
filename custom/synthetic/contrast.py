# SPDX-License-Identifier: Apache-2.0
"""From tissue fractions to T1-weighted, T2-weighted and FLAIR images on the output grid.

Brightness is relative to white matter = 1. Tissues are mixed at 1 mm, blurred by the scanner's point spread, averaged
to the cells of a 2 mm output, then multiplied by texture and a smooth coil field and given Rician noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..volumes.grid import halve_mean
from .anatomy import Anatomy
from .fields import Array, Mask, noise_field
from .variety import DEMO, Variety

# (mean, sd over subjects): grey matter, fluid, strength of the template's residual, darkening by iron, and on FLAIR the bright
# rims of the ventricles that healthy people have
TISSUES = {
    "t1": {"grey": (0.75, 0.03), "csf": (0.24, 0.06), "residual": (1.2, 0.1), "iron": (-0.02, 0.01)},
    "t2": {"grey": (1.38, 0.07), "csf": (3.4, 0.3), "residual": (-1.8, 0.2), "iron": (0.25, 0.06)},
    "flair": {
        "grey": (1.25, 0.05),
        "csf": (0.3, 0.08),
        "residual": (-0.7, 0.2),
        "iron": (0.1, 0.04),
        "rim": (0.15, 0.08),
    },
}
SULCAL_DIMMING = 0.15  # vessels and membranes among the fluid of the sulci
TEXTURE = ((1.25, 0.025), (3.0, 0.025), (10.0, 0.03))  # (spacing in 2 mm cells, sd)
DURA = {
    "t1": (0.2, 0.6),
    "t2": (0.05, 0.4),
    "flair": (0.1, 0.5),
}  # range of the median darkening of the outermost 2 mm, in patches
THROUGH_PLANE_MM = {"t1": (0.3, 0.7), "t2": (0.5, 1.3), "flair": (0.5, 1.3)}  # range of the point spread's sigma
BIAS_SPACING_CELLS = 27.5
RIM_MM = 2.0  # depth over which the rim of a ventricle fades
CONTRASTS = tuple(TISSUES)
COHORT_CONTRASTS = ("t1", "t2")  # unless others are asked for


@dataclass(frozen=True)
class Levels:
    """Brightness of the tissues in one scan, white matter = 1.

    Attributes:
        grey, csf: of grey matter and of fluid.
        residual: strength of the template's residual.
        iron: share by which iron-rich nuclei are darker.
        rim: by which white matter is brighter at the ventricles.

    >>> levels = draw_levels(np.random.default_rng(0), "t2")
    >>> levels.csf > levels.grey > 1
    True
    """

    grey: float
    csf: float
    residual: float
    iron: float
    rim: float = 0.0


def draw_levels(rng: np.random.Generator, contrast: str, variety: Variety = DEMO) -> Levels:
    """The scan's tissue brightness."""
    tissues = {name: (mean, sd * variety.tissue_spread) for name, (mean, sd) in TISSUES[contrast].items()}
    return Levels(**{name: float(rng.normal(*spread)) for name, spread in tissues.items()})


def mix_tissues(anatomy: Anatomy, levels: Levels) -> Array:
    """Noise-free image on the fine grid, 0 outside the brain."""
    fluid = anatomy.csf * (1 - np.float32(SULCAL_DIMMING) * anatomy.cortical) * np.float32(levels.csf)
    image = anatomy.white + np.float32(levels.grey) * anatomy.grey + fluid
    solid = anatomy.white + anatomy.grey
    if levels.rim > 0:
        rim = np.exp(-np.maximum(anatomy.ventricle_distance, 0) / np.float32(RIM_MM))
        image += np.float32(levels.rim) * rim * anatomy.white
    image += np.float32(levels.residual) * np.clip(anatomy.residual, -0.2, 0.2) * solid
    image *= 1 - np.float32(levels.iron * (0.6 + 0.6 * anatomy.atrophy)) * anatomy.iron
    return np.asarray(np.maximum(image, 0))


def acquire(
    rng: np.random.Generator, fine: Array, edge_distance: Array, mask: Mask, contrast: str, variety: Variety = DEMO
) -> Array:
    """Scan a fine image: float32 on the cells of ``mask`` (2 or 1 mm), 0 outside it, white matter near 1.

    At 1 mm a voxel has the noise of an eighth of the volume, so that the mean of eight is about as noisy as a voxel of 2 mm.
    """
    halved = mask.shape != fine.shape
    cells, per_cell = (halve_mean, 1) if halved else (np.asarray, 2)  # voxels along 2 mm
    thickness = np.clip(np.float32(1.6) - edge_distance / np.float32(1.5), 0, 1)
    dura = np.clip(rng.uniform(*DURA[contrast]) + 0.6 * noise_field(rng, fine.shape, 6.0), 0, 0.95)
    fine = fine * (1 - dura * thickness)
    in_plane, through_plane = rng.uniform(*variety.in_plane_mm), rng.uniform(*THROUGH_PLANE_MM[contrast])
    sigmas = [in_plane, in_plane, through_plane * variety.through_plane_factor]
    if variety.any_slice_axis:
        sigmas = list(np.roll(sigmas, rng.integers(3)))
    image = cells(ndimage.gaussian_filter(fine, sigmas, truncate=3.0))
    share = cells(ndimage.gaussian_filter((edge_distance > 0).astype(np.float32), 0.5, truncate=3.0))
    image /= np.maximum(share, np.float32(0.5))
    for spacing, sd in TEXTURE:
        image *= 1 + np.float32(sd) * noise_field(rng, image.shape, spacing * per_cell)
    low, high = variety.bias_sd
    bias_sd = low if low == high else rng.uniform(low, high)  # a fixed strength takes no draw
    image *= np.exp(np.float32(bias_sd) * noise_field(rng, image.shape, BIAS_SPACING_CELLS * per_cell))
    level = np.float32(rng.uniform(*variety.noise) * per_cell**1.5)
    noise = rng.standard_normal((2, *image.shape), dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (0, 0.4, 0.4, 0.4), truncate=3.0) * level
    return np.asarray(np.where(mask, np.hypot(image + noise[0], noise[1]), 0), dtype=np.float32)
