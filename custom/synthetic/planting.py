# SPDX-License-Identifier: Apache-2.0
"""Lesions planted into healthy scans, with exact masks: for testing, where patients are few. Never for training.

A planted lesion is an opacity in [0, 1] on the scan's own grid and a brightness it is blended towards; its mask is
``opacity > 0.5`` inside the brain. Brightness is given between the scan's dark level (2nd percentile of the brain, 0) and
its bright level (98th, 1), so nothing has to be known about the scanner:

=========  ===========================================================================  ============  ============
kind       shape                                                                        T1            T2, FLAIR
=========  ===========================================================================  ============  ============
foci       10 to 20 ovoids, axes 1 : 1.6, half of them near the first                   0.45 ... 0.6  0.6 ... 0.8
infarct    one region, its edge moved by smooth noise, tissue only                      0.2 ... 0.4   0.6 ... 0.8
tumour     heterogeneous core with a fluid centre, in a faint halo of twice its volume  0.3 ... 0.5   0.6 ... 0.9
bleeding   compact, bright on T1 and dark on T2                                         0.95 ... 1.0  0.0 ... 0.1
=========  ===========================================================================  ============  ============

Volumes are those asked for, up to what fits: the threshold that cuts the shape out of its depth map is chosen for it.
The lesions of the demo cohort (:mod:`.lesions`) and the corruption that restoration networks train on
(:mod:`custom.corruption`) are made by other code, in other ways, from other streams of random numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

from ..core.errors import ConfigError, DataError
from ..core.seeding import derive_seed
from .fields import noise_field

Volume = NDArray[np.float32]
BRIGHTNESS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "foci": {"t1": (0.45, 0.6), "other": (0.6, 0.8)},
    "infarct": {"t1": (0.2, 0.4), "other": (0.6, 0.8)},
    "tumour": {"t1": (0.3, 0.5), "other": (0.6, 0.9)},
    "bleeding": {"t1": (0.95, 1.0), "other": (0.0, 0.1)},
}
KINDS = tuple(BRIGHTNESS)
VOLUMES_ML = {"foci": (0.5, 8.0), "infarct": (3.0, 80.0), "tumour": (3.0, 60.0), "bleeding": (0.5, 20.0)}
EDGE_MM = 1.0
DEPTH_MM, MIDLINE_MM = 9.0, 8.0  # centres keep away from the brain's edge and from the middle plane


@dataclass(frozen=True, eq=False)
class Planted:
    """A scan with a lesion.

    Attributes:
        image: float32 ``[X, Y, Z]``, as given wherever the lesion is not.
        seg: the lesion, uint8, 0 or 1.

    >>> brain = np.ones((16, 16, 16), bool)
    >>> scan = np.random.default_rng(0).uniform(80, 120, brain.shape)
    >>> planted = plant(scan, brain, "bleeding", "t2", seed=1, spacing_mm=(4.0, 4.0, 4.0))
    >>> planted.seg.shape, bool(planted.seg.any())
    ((16, 16, 16), True)
    """

    image: Volume
    seg: NDArray[np.uint8]


def plant(
    image: NDArray[np.floating],
    brain: NDArray[np.bool_],
    kind: str,
    contrast: str,
    seed: int,
    spacing_mm: Sequence[float],
) -> Planted:
    """Plant one lesion of one of :data:`KINDS`.

    Args:
        image: healthy, skull-stripped scan ``[X, Y, Z]``, first axis left to right, any unit of intensity.
        brain: its brain mask.
        kind: of the lesion.
        contrast: "t1"; every other name means a contrast on which fluid is bright or lesions are (T2, FLAIR).
        seed: decides everything; draws are named after it and the kind.
        spacing_mm: voxel size.

    Raises:
        ConfigError: unknown kind.
        DataError: the brain is too small for a lesion.
    """
    if kind not in BRIGHTNESS:
        raise ConfigError(f"no lesion of the kind {kind!r} can be planted; known: {', '.join(KINDS)}.")
    rng = np.random.default_rng(derive_seed("planting", kind, seed))
    values = np.asarray(image, dtype=np.float32)
    brain = np.asarray(brain) > 0
    if not brain.any():
        raise DataError("the brain mask is empty, so no lesion can be planted")
    dark, bright = np.percentile(values[brain], [2, 98]).astype(np.float32)
    relative = np.clip((values - dark) / (bright - dark), 0, 1)
    tissue = _tissue(relative, contrast) * brain
    target_ml = float(np.exp(rng.uniform(*np.log(VOLUMES_ML[kind]))))
    depth_mm, texture = _SHAPES[kind](rng, _Place(brain, tissue, tuple(spacing_mm)), target_ml)
    solid = depth_mm > -np.inf
    if kind in ("foci", "infarct", "tumour"):
        solid = solid & (tissue > 0.5)
    depth_mm = np.where(solid & brain, depth_mm, -np.inf)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    flat = np.sort(depth_mm[np.isfinite(depth_mm)])
    if not len(flat):
        raise DataError("there is no room for a lesion in this brain")
    level = flat[-min(max(round(target_ml / voxel_ml), 1), len(flat))]
    opacity = (0.97 * expit((depth_mm - level) / EDGE_MM + 1e-3)).astype(np.float32)
    low, high = BRIGHTNESS[kind]["t1" if contrast == "t1" else "other"]
    brightness = np.clip(rng.uniform(low, high) + texture, 0, 1)
    changed = relative + opacity * (brightness - relative)
    seg = (opacity > 0.485) & brain
    planted = np.where(brain & (opacity > 0.01), changed * (bright - dark) + dark, values).astype(np.float32)
    return Planted(planted, seg.astype(np.uint8))


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a lesion may lie."""

    brain: NDArray[np.bool_]
    tissue: Volume
    spacing_mm: tuple[float, ...]

    @cached_property
    def _cells(self) -> NDArray[np.int64]:
        inner = ndimage.distance_transform_edt(self.brain, sampling=self.spacing_mm) > DEPTH_MM
        middle = np.argwhere(self.brain)[:, 0].mean()
        away = np.abs(np.arange(self.brain.shape[0]) - middle) * self.spacing_mm[0] > MIDLINE_MM
        return np.argwhere(inner & (self.tissue > 0.5) & away[:, None, None])

    def centre(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return a voxel deep in the tissue, away from the middle plane."""
        cells = self._cells
        if not len(cells):
            raise DataError("the brain is too small for a lesion that keeps away from its edge")
        return np.asarray(cells[rng.integers(len(cells))], dtype=np.float64)

    def offsets_mm(self, centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``[3, X, Y, Z]``, mm from ``centre``."""
        axes = [(np.arange(n) - c) * s for n, c, s in zip(self.brain.shape, centre, self.spacing_mm, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"))

    def noise(self, rng: np.random.Generator, spacing_mm: float) -> Volume:
        """Return a smooth field of unit variance."""
        shape = self.brain.shape
        return noise_field(rng, (shape[0], shape[1], shape[2]), spacing_mm / float(np.mean(self.spacing_mm)))


def _radius_mm(volume_ml: float) -> float:
    return float((3 * volume_ml * 1000 / (4 * np.pi)) ** (1 / 3))


def _foci(rng: np.random.Generator, place: _Place, volume_ml: float) -> tuple[NDArray[np.float64], Volume]:
    count = int(rng.integers(10, 21))
    first = place.centre(rng)
    depth = np.full(place.brain.shape, -np.inf)
    radius = _radius_mm(volume_ml / count)
    for nth in range(count):
        near = nth % 2 == 1
        centre = first + rng.normal(0, 15, 3) / place.spacing_mm if near else place.centre(rng)
        axis = rng.standard_normal(3)
        axis /= np.linalg.norm(axis)
        offset = place.offsets_mm(centre)
        along = np.tensordot(axis, offset, axes=(0, 0))
        across = np.sqrt(np.maximum((offset**2).sum(axis=0) - along**2, 0))
        size = radius * float(np.exp(rng.normal(0, 0.3)))
        depth = np.maximum(depth, size - np.hypot(across, along / 1.6))
    return depth, 0.04 * place.noise(rng, 6.0)


def _infarct(rng: np.random.Generator, place: _Place, volume_ml: float) -> tuple[NDArray[np.float64], Volume]:
    offset = place.offsets_mm(place.centre(rng))
    stretch = np.exp(rng.normal(0, 0.25, 3))
    moved = np.stack([part / s + 5 * place.noise(rng, 18.0) for part, s in zip(offset, stretch, strict=True)])
    return _radius_mm(volume_ml) - np.sqrt((moved**2).sum(axis=0)), 0.08 * place.noise(rng, 10.0)


def _tumour(rng: np.random.Generator, place: _Place, volume_ml: float) -> tuple[NDArray[np.float64], Volume]:
    offset = place.offsets_mm(place.centre(rng))
    radius = _radius_mm(volume_ml)
    distance = np.sqrt((offset**2).sum(axis=0)) + 0.18 * radius * place.noise(rng, 14.0)
    fluid = expit((0.3 * radius - distance) / 1.5)
    halo = expit((distance - 0.8 * radius) / 1.5)
    texture = 0.1 * place.noise(rng, 5.0) - 0.15 * fluid + 0.12 * halo
    return radius - distance, texture.astype(np.float32)


def _bleeding(rng: np.random.Generator, place: _Place, volume_ml: float) -> tuple[NDArray[np.float64], Volume]:
    offset = place.offsets_mm(place.centre(rng))
    stretch = np.exp(rng.normal(0, 0.2, 3)).reshape(3, 1, 1, 1)
    distance = np.sqrt(((offset / stretch) ** 2).sum(axis=0)) + 0.8 * place.noise(rng, 7.0)
    return _radius_mm(volume_ml) - distance, 0.02 * place.noise(rng, 5.0)


def _tissue(relative: Volume, contrast: str) -> Volume:
    """Weight 0..1 of what is not fluid, by brightness: dark on T1; on other contrasts all counts as tissue."""
    if contrast != "t1":
        return np.ones_like(relative)
    return np.asarray(expit((ndimage.gaussian_filter(relative, 0.5) - 0.45) / 0.06), dtype=np.float32)


_SHAPES: Mapping[str, Callable[[np.random.Generator, _Place, float], tuple[NDArray[np.float64], Volume]]] = {
    "foci": _foci,
    "infarct": _infarct,
    "tumour": _tumour,
    "bleeding": _bleeding,
}
