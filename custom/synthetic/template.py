# SPDX-License-Identifier: Apache-2.0
"""The ICBM152 2009a symmetric maps that nilearn carries in its package, prepared once per process.

The three packaged files (T1, grey and white matter probability, 1 mm, uint8) are read directly; nothing is
downloaded and nilearn itself is not imported. Everything is float32 on the fine grid of :mod:`.fields` unless said.
Source: Fonov et al., NeuroImage 54(1), 2011, doi 10.1016/j.neuroimage.2010.07.033.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from ..core.errors import DataError
from ..volumes.grid import halve_mean
from .fields import FINE_ORIGIN_MM, FINE_SHAPE, Array, Mask, upsample

PACKAGED_NAME = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


# centre (right side, mirrored) and radii in mm of iron-rich nuclei
IRON_NUCLEI = (
    ((19.0, -4.0, -1.0), (5.5, 8.5, 5.0)),
    ((5.0, -20.0, -9.0), (3.0, 3.5, 3.5)),
    ((10.5, -17.0, -11.0), (4.5, 4.5, 2.5)),
    ((14.0, -57.0, -34.0), (5.0, 7.0, 4.0)),
)


@dataclass(frozen=True)
class Template:
    """Average brain.

    Attributes:
        grey, white, csf: tissue fractions, sum 1; the outside of the brain counts as fluid.
        residual: what the T1 average shows beyond the mixture of tissues (deep nuclei, myelin), white matter = 1.
        sulcal: how much a voxel lies on the middle surface between two banks of a sulcus, 0..1; negative at the falx.
        cortical: 0..1, weight of the folded cortex (deep nuclei, brainstem and cerebellum excluded).
        cerebellar: 0..1, weight of the cerebellum.
        iron: 0..1, nuclei that are dark on T2 (pallidum, red nucleus, substantia nigra, dentate).
        depth: mm below the brain's surface, negative outside.
        ventricle_distance: mm to the lateral and third ventricles, negative inside.
        ventricle_gradient: outward unit vectors ``[3, X/2, Y/2, Z/2]`` on the 2 mm cells.

    >>> maps = {name: np.zeros((2, 2, 2), np.float32) for name in Template.__annotations__}
    >>> template = Template(**{**maps, "white": np.ones((2, 2, 2), np.float32)})
    >>> float((template.grey + template.white + template.csf).min())
    1.0
    """

    grey: Array
    white: Array
    csf: Array
    residual: Array
    sulcal: Array
    cortical: Array
    cerebellar: Array
    iron: Array
    depth: Array
    ventricle_distance: Array
    ventricle_gradient: Array


def packaged_map(kind: str) -> Path:
    """Path of nilearn's packaged ICBM152 map: ``t1``, ``gm`` or ``wm``."""
    spec = find_spec("nilearn")
    name = PACKAGED_NAME.format(kind)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "datasets" / "data" / name
        if path.is_file():
            return path
    raise DataError(
        f"the packaged brain map {name} was not found in nilearn, and the synthetic cohort is made from it. "
        "Install it with: pip install 'nilearn>=0.10'",
        case="demo cohort",
    )


def _on_fine_grid(kind: str) -> Array:
    """Sample a packaged map on the fine grid (cubic spline: the grids differ by half a voxel), 0..255."""
    image = nib.load(packaged_map(kind))
    if not np.array_equal(image.affine[:3, :3], np.eye(3)):
        raise DataError("the packaged map is not a 1 mm RAS image; use nilearn 0.10 or newer", case=kind)
    first = np.floor(np.asarray(FINE_ORIGIN_MM) - image.affine[:3, 3]).astype(int)
    values = np.pad(np.asarray(image.dataobj).astype(np.float32), 4)
    block = values[tuple(slice(a + 4, a + 5 + n) for a, n in zip(first, FINE_SHAPE, strict=True))]
    for axis in range(3):  # four-point cubic interpolation half way between two voxels
        block = ndimage.correlate1d(block, [-0.0625, 0.5625, 0.5625, -0.0625], axis=axis, origin=-1, mode="nearest")
    return np.clip(block[:-1, :-1, :-1], 0, 255)


def _signed_distance(share: Array) -> Array:
    """mm to the boundary of a region given by its share of each fine voxel: positive outside, negative inside.

    Found on the 2 mm cells and smoothed, which is exact enough for weights and five times faster.
    """
    inside = halve_mean(share) > 0.5
    distance = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    distance = 2 * (distance - 0.5 * np.sign(distance))
    return upsample(ndimage.gaussian_filter(distance.astype(np.float32), 0.5), FINE_SHAPE)


def world_mm(axis: int) -> Array:
    """RAS coordinate of the fine voxels along one axis, shaped for broadcasting."""
    shape = [1, 1, 1]
    shape[axis] = FINE_SHAPE[axis]
    return (np.arange(FINE_SHAPE[axis], dtype=np.float32) + np.float32(FINE_ORIGIN_MM[axis])).reshape(shape)


def _ventricles(csf: Array) -> Mask:
    """Lateral and third ventricles: the large pieces of fluid in a central box."""
    x, y, z = (world_mm(axis) for axis in range(3))
    atrium = (np.abs(x) < 42) & (y > -62) & (y < -18) & (z > -22) & (z < 26) & (np.abs(x) > 9)
    body = (np.abs(x) < 26) & ((y > -24) | (np.abs(x) > 8)) & (y > -42) & (y < 40) & (z > 0) & (z < 30)
    third = (np.abs(x) < 5) & (y > -24) & (y < 6) & (z > -12) & (z < 8)
    labels, _ = ndimage.label((csf > 0.5) & (atrium | body | third))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes > 300)[labels])


def _iron() -> Array:
    """Soft ellipsoids at the iron-rich nuclei."""
    x, y, z = (world_mm(axis) for axis in range(3))
    iron = np.zeros(FINE_SHAPE, dtype=np.float32)
    for centre, radii in IRON_NUCLEI:
        away = ((np.abs(x) - centre[0]) / radii[0]) ** 2
        away = away + ((y - centre[1]) / radii[1]) ** 2 + ((z - centre[2]) / radii[2]) ** 2
        iron = np.maximum(iron, np.clip(2 - 1.5 * np.sqrt(away), 0, 1))
    return iron


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Read and prepare the maps."""
    t1, grey, white = (_on_fine_grid(kind) / np.float32(255) for kind in ("t1", "gm", "wm"))
    brain = (t1 > 0.1) & (grey + white > 0.05)
    brain |= ndimage.binary_fill_holes(halve_mean(brain) > 0.5).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    csf = np.maximum(1 - grey - white, 0)
    grey, white = (np.where(brain, tissue / (grey + white + csf), 0).astype(np.float32) for tissue in (grey, white))
    csf = 1 - grey - white

    depth = -_signed_distance(brain.astype(np.float32))
    inner = depth > 3
    fractions = np.stack([grey[inner], white[inner], csf[inner]], axis=1)
    levels = np.linalg.lstsq(fractions, t1[inner], rcond=None)[0]
    residual = np.zeros_like(t1)
    residual[inner] = (t1[inner] - fractions @ levels) / levels[1]

    to_white = ndimage.distance_transform_edt(white < 0.5).astype(np.float32)
    ridge = to_white - ndimage.gaussian_filter(to_white, 2.0)
    ventricle_distance = _signed_distance(_ventricles(np.where(brain, csf, 0)).astype(np.float32))

    x, y, z = (world_mm(axis) for axis in range(3))
    # cerebellum: below and behind a plane along the tentorium; the brainstem in front of it is left out
    cerebellar = (z < -12 - 0.45 * (y + 40)) & (y < -38) & (np.abs(x) < 62) & (z < -4)
    stem = (np.abs(x) < 20) & (y > -48) & (y < 2) & (z < -6)
    stem |= (np.abs(x) < 11) & (y > -58) & (z < -42)
    deep = ((x / 36) ** 2 + ((y + 5) / 40) ** 2 + ((z - 5) / 22) ** 2 < 1) & (depth > 14)
    cerebellar = cerebellar & ~stem
    cortical = brain & ~stem & ~deep & ~cerebellar & (ventricle_distance > 6)
    smooth = (ndimage.gaussian_filter(region.astype(np.float32), 2.0) for region in (cortical, brain & cerebellar))
    cortical_weight, cerebellar_weight = smooth
    sulcal = np.clip(ridge / 1.2, 0, 1) * np.clip((to_white - 2) / 2, 0, 1)
    falx = np.exp(-((x / 2.5) ** 2)) * cortical_weight  # the membrane leaves little room for fluid in the midline
    sulcal = sulcal * (1 - 0.9 * falx) - 0.2 * falx

    coarse = ndimage.gaussian_filter(halve_mean(ventricle_distance), 0.7)
    gradient = np.stack(np.gradient(coarse)).astype(np.float32)
    gradient /= np.maximum(np.linalg.norm(gradient, axis=0), np.float32(0.25))
    return Template(
        grey, white, csf, residual, sulcal, cortical_weight, cerebellar_weight, _iron(), depth, ventricle_distance,
        gradient,
    )  # fmt: skip
