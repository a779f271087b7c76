# SPDX-License-Identifier: Apache-2.0
"""Four kinds of lesions with exact masks: tumour, multiple sclerosis, stroke, white matter hyperintensities.

A lesion is an opacity in 0..1 on the fine grid and, per contrast, the brightness it is blended towards
(white matter = 1). The exact mask is ``opacity > 0.5``. Brightness follows the usual appearance of each kind: brighter
than the tissue on T2, as dark as or darker than white matter on T1. Sizes are mm.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit

from ..volumes.grid import halve_mean
from .anatomy import Anatomy, Push, inverse_mean_affine
from .contrast import Levels
from .fields import FINE_ORIGIN_MM, FINE_SHAPE, Array, Mask, noise_field
from .template import load_template, world_mm

Scans = Mapping[str, Levels]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Lesion:
    """What a lesion covers, and how bright it is.

    Attributes:
        opacity: 0..1 on the fine grid.
        brightness: of each contrast (``t1``, ``t2``, ``flair``) on the fine grid, white matter = 1.

    >>> lesion = Lesion(np.array([0.0, 0.75], np.float32), {"t1": np.array([0.5, 0.5], np.float32)})
    >>> lesion.blend(np.ones(2, np.float32), "t1").tolist(), lesion.mask.tolist()
    ([1.0, 0.625], [False, True])
    """

    opacity: Array
    brightness: Mapping[str, Array]

    def blend(self, image: Array, contrast: str) -> Array:
        """Paint the lesion into a noise-free image."""
        return np.asarray(image + self.opacity * (self.brightness[contrast] - image))

    @property
    def mask(self) -> Mask:
        """The exact mask on the fine grid."""
        return np.asarray(self.opacity > 0.5)


@dataclass(frozen=True)
class TumourPlan:
    """Where a tumour grows.

    Attributes:
        centre_mm: middle of its core, RAS ``[3]``.
        radius_mm: of the core.
        displaced: mass effect, the share in [0, 1) of the core's volume that is pushed away.

    >>> plan = TumourPlan(centre_mm=np.zeros(3), radius_mm=10.0, displaced=0.5)
    >>> place = np.array([20.0, 0, 0]).reshape(3, 1, 1, 1)
    >>> round(float(plan.push(place)[0, 0, 0, 0]), 1)  # what is seen 20 mm to the right was 0.3 mm nearer to the middle
    -0.3
    """

    centre_mm: Array
    radius_mm: float
    displaced: float

    def push(self, place: Array) -> Array:
        """Tissue displaced outward, volume kept near the core, fading over three radii (a :data:`Push`)."""
        away = place - self.centre_mm.reshape(3, 1, 1, 1)
        distance = np.maximum(np.sqrt((away**2).sum(axis=0)), np.float32(1e-3))
        radius = np.float32(self.radius_mm)
        origin = np.cbrt(distance**3 - np.float32(self.displaced) * np.minimum(distance, radius) ** 3)
        fading = np.clip(1 - (distance - radius) / (3 * radius), 0, 1)
        return np.asarray(away * ((origin / distance - 1) * fading), dtype=np.float32)


def plan_tumour(seed: int) -> TumourPlan:
    """Choose a place deep in the white matter of a hemisphere, before the anatomy is made."""
    rng = np.random.default_rng([seed, 1])
    template = load_template()
    white = ndimage.gaussian_filter(halve_mean(template.white), 2.0)
    room = (halve_mean(template.ventricle_distance) > 8) & (halve_mean(template.depth) > 16)
    cells = np.argwhere((white > 0.5) & room & (halve_mean(template.cortical) > 0.5))
    place = 2.0 * cells[rng.integers(len(cells))] + np.asarray(FINE_ORIGIN_MM) + 0.5
    radius, displaced = rng.uniform(9, 20), rng.uniform(0.3, 0.75)
    return TumourPlan(inverse_mean_affine(place), float(radius), float(displaced))


def _distance_mm(centre_mm: Array) -> Array:
    return np.asarray(np.sqrt(sum((world_mm(axis) - np.float32(centre_mm[axis])) ** 2 for axis in range(3))))


def _shape_noise(rng: np.random.Generator, spacing_mm: float) -> Array:
    return noise_field(rng, FINE_SHAPE, spacing_mm)


def _tumour(rng: np.random.Generator, anatomy: Anatomy, scans: Scans, seed: int) -> Lesion:
    plan = plan_tumour(seed)
    distance = _distance_mm(plan.centre_mm)
    shape = np.float32(0.22) * _shape_noise(rng, 7.0)
    radius = distance * (1 + np.clip(shape, -0.5, 0.5)) / np.float32(plan.radius_mm)
    necrosis, extent = rng.uniform(0.3, 0.5), rng.uniform(1.3, 1.9)
    core = expit((1 - radius) * plan.radius_mm / 0.7)
    reach = distance * (1 + 0.22 * _shape_noise(rng, 12.0)) / np.float32(plan.radius_mm)
    white = ndimage.gaussian_filter(anatomy.white, 1.0, truncate=3.0)
    oedema = expit((extent - reach) * plan.radius_mm / 1.2) * expit((white - 0.5) / 0.08)
    dead = expit((necrosis - radius) * plan.radius_mm / 0.8)
    texture = 1 + 0.12 * _shape_noise(rng, 4.0)
    rim = rng.uniform(1.5, 2.0)
    t1, t2, flair = scans["t1"], scans["t2"], scans["flair"]
    dark, wet = rng.uniform(0.62, 0.75), rng.uniform(0.56, 0.66)
    solid = {
        "t1": dark * texture,
        "t2": np.maximum(rim * t2.grey * texture, 1.25 * t2.grey),
        "flair": (0.7 + 0.3 * rim) * flair.grey * texture,
    }
    liquid = {
        "t1": t1.csf + 0.15,
        "t2": 0.85 * t2.csf,
        "flair": flair.csf + 0.3,
    }  # not wholly suppressed: rich in protein
    swollen = {"t1": 0.78, "t2": wet * t2.csf, "flair": 2.9 * wet}
    brightness = {}
    for contrast in solid:
        inner = solid[contrast] + dead * (liquid[contrast] - solid[contrast])
        brightness[contrast] = (swollen[contrast] + core * (inner - swollen[contrast])).astype(np.float32)
    opacity = 0.95 * np.maximum(core, 0.9 * oedema) * anatomy.inside
    labels, _ = ndimage.label(opacity > 0.3)  # oedema spreads from the core: no islands beyond a gyrus or the falx
    opacity = opacity * (labels == np.argmax(np.bincount(labels[radius < 1], minlength=2)[1:]) + 1)
    return Lesion(opacity.astype(np.float32), brightness)


def _box(centre: Array, radius: float) -> Box:
    low, high = np.floor(centre - radius).astype(int), np.ceil(centre + radius).astype(int) + 1
    x, y, z = (slice(max(a, 0), min(b, n)) for a, b, n in zip(low, high, FINE_SHAPE, strict=True))
    return x, y, z


def _add_focus(
    opacity: Array, centre: Array, radius_mm: float, elongation: float, axis: Array, wobble: Array
) -> tuple[Box, Array]:
    """Raise ``opacity`` to an ovoid with its long axis along ``axis``; return its box and where it is the strongest."""
    box = _box(centre, radius_mm * elongation * 1.5 + 2)
    offset = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) - c for s, c in zip(box, centre, strict=True)],
                                  indexing="ij"))  # fmt: skip
    axis = axis / max(float(np.linalg.norm(axis)), 1e-6)
    along = np.tensordot(axis, offset, axes=(0, 0))
    across = np.sqrt(np.maximum((offset**2).sum(axis=0) - along**2, 0))
    reach = np.hypot(across, along / elongation) * (1 + 0.2 * wobble[box])
    focus = expit((radius_mm - reach) / 0.5).astype(np.float32)
    stronger = focus > opacity[box]
    opacity[box] = np.maximum(opacity[box], focus)
    return box, stronger


def _slope(volume: Array, voxel: Array) -> Array:
    """Gradient of a volume at one voxel, over four voxels."""
    slope = []
    for axis in range(3):
        ahead, behind = voxel.copy(), voxel.copy()
        ahead[axis] = min(ahead[axis] + 2, FINE_SHAPE[axis] - 1)
        behind[axis] = max(behind[axis] - 2, 0)
        slope.append(volume[tuple(ahead)] - volume[tuple(behind)])
    return np.asarray(slope, dtype=np.float32)


def _cerebral_white(anatomy: Anatomy) -> Mask:
    """White matter of the hemispheres, above the temporal poles and off the midline."""
    return np.asarray(
        (anatomy.white > 0.6) & (world_mm(2) > -22) & (np.abs(world_mm(0)) > 8) & (anatomy.edge_distance > 3)
        & ((anatomy.cortical > 0.3) | (anatomy.ventricle_distance < 8))
    )  # fmt: skip


def _ms(rng: np.random.Generator, anatomy: Anatomy, scans: Scans, seed: int) -> Lesion:
    white = _cerebral_white(anatomy)
    near = anatomy.ventricle_distance
    places = {
        "periventricular": np.argwhere(white & (near > 0.5) & (near < 6)),
        "deep": np.argwhere(white & (near > 8) & (anatomy.white > 0.9) & (anatomy.edge_distance > 12)),
        "juxtacortical": np.argwhere(white & (anatomy.white < 0.85) & (anatomy.cortical > 0.8) & (near > 12)),
    }
    wobble = _shape_noise(rng, 3.0)
    opacity = np.zeros(FINE_SHAPE, dtype=np.float32)
    t1, t2 = np.full(FINE_SHAPE, 0.82, dtype=np.float32), np.full(FINE_SHAPE, 0.65, dtype=np.float32)
    for _ in range(int(rng.integers(10, 37))):
        where = str(rng.choice(list(places), p=[0.55, 0.30, 0.15]))
        voxel = places[where][rng.integers(len(places[where]))]
        axis = _slope(near, voxel) if where == "periventricular" else rng.standard_normal(3).astype(np.float32)
        radius = float(np.clip(rng.lognormal(np.log(2.4), 0.35), 1.6, 5.0))
        box, stronger = _add_focus(opacity, voxel.astype(np.float32), radius, rng.uniform(1, 2), axis, wobble)
        t2[box][stronger] = rng.uniform(0.55, 0.80)
        t1[box][stronger] = rng.uniform(0.50, 0.65) if rng.random() < 0.2 else rng.uniform(0.76, 0.86)
    tissue = expit((ndimage.gaussian_filter(anatomy.white, 0.7, truncate=3.0) - 0.35) / 0.08)
    images = {"t1": t1, "t2": t2 * np.float32(scans["t2"].csf), "flair": np.float32(2.6) * t2}
    return Lesion((0.95 * opacity * tissue).astype(np.float32), images)


# right-side centres of the arteries' territories in mm; (weight of being hit, points)
TERRITORIES: Mapping[str, tuple[float, tuple[tuple[float, float, float], ...]]] = {
    "middle": (0.65, ((52, -8, 14), (46, -40, 28), (44, 18, 18), (54, -20, -10), (40, -2, 40))),
    "posterior": (0.14, ((18, -82, 4), (26, -60, -8), (12, -66, 22))),
    "anterior": (0.09, ((9, 42, 14), (9, 22, 44), (9, -20, 56))),
    "lenticulostriate": (0.12, ((24, 2, 6), (26, -8, 14))),
}


def _stroke(rng: np.random.Generator, anatomy: Anatomy, scans: Scans, seed: int) -> Lesion:
    names = list(TERRITORIES)
    hit = str(rng.choice(names, p=[TERRITORIES[name][0] for name in names]))
    side = 1.0 if rng.random() < 0.5 else -1.0
    position = [world_mm(axis) + 5 * _shape_noise(rng, 18.0) for axis in range(3)]
    nearest, other = (np.full(FINE_SHAPE, np.inf, dtype=np.float32) for _ in range(2))
    for name in names:
        for point in TERRITORIES[name][1]:
            away = (position[0] - side * point[0]) ** 2 + (position[1] - point[1]) ** 2 + (position[2] - point[2]) ** 2
            target = nearest if name == hit else other
            np.minimum(target, away, out=target)
    margin = (np.sqrt(other) - np.sqrt(nearest)) / 2
    points = TERRITORIES[hit][1]
    centre = np.asarray(points[rng.integers(len(points))]) * (side, 1, 1)
    largest = 18 if hit == "lenticulostriate" else 34
    radius = rng.uniform(14, largest)
    distance = np.sqrt(sum((position[axis] - centre[axis]) ** 2 for axis in range(3)))
    same_side = position[0] * side
    inside = np.minimum(np.minimum(margin, radius - distance), same_side) + 1.6 * _shape_noise(rng, 6.0)
    solid = ndimage.gaussian_filter(anatomy.white + anatomy.grey, 0.5, truncate=3.0)
    opacity = 0.95 * expit(inside / 1.2) * expit((solid - 0.55) / 0.06) * anatomy.inside
    opacity *= anatomy.ventricle_distance > 0.5
    severity = np.clip(rng.uniform(0.35, 0.8) + 0.25 * _shape_noise(rng, 10.0), 0.1, 1)
    t1, t2, flair = scans["t1"], scans["t2"], scans["flair"]
    wet = 0.55 * t2.grey + 0.45 * t2.csf
    brightness = {
        "t1": t1.grey * (1 - 0.4 * severity),
        "t2": 1.15 * t2.grey + severity * (wet - 1.15 * t2.grey),
        "flair": flair.grey * (1.05 + 0.6 * severity),
    }
    return Lesion(opacity.astype(np.float32), {name: value.astype(np.float32) for name, value in brightness.items()})


def _wmh(rng: np.random.Generator, anatomy: Anatomy, scans: Scans, seed: int) -> Lesion:
    load_mm = rng.uniform(1.5, 8.5)
    x, y, z = (world_mm(axis) for axis in range(3))
    horns = np.clip((y - 5) / 20, 0, 1) + np.clip((-30 - y) / 15, 0, 1)
    callosum = np.clip((16 - np.abs(x)) / 6, 0, 1) * (z > 0)
    width = load_mm * (0.55 + 0.45 * horns) * (1 - 0.8 * callosum) + (0.3 + 0.12 * load_mm) * _shape_noise(rng, 6.0)
    lateral = expit((np.abs(x) - 7) / 0.7) * (z > -14)
    opacity = (expit((width - anatomy.ventricle_distance) / 0.6) * lateral).astype(np.float32)
    wobble = _shape_noise(rng, 3.0)
    places = np.argwhere(_cerebral_white(anatomy) & (anatomy.ventricle_distance > 7) & (anatomy.edge_distance > 8))
    for _ in range(int(rng.integers(4, 8 + round(3 * load_mm)))):
        voxel = places[rng.integers(len(places))].astype(np.float32)
        axis = rng.standard_normal(3).astype(np.float32)
        _add_focus(opacity, voxel, rng.uniform(1.3, 2.8), rng.uniform(1, 1.6), axis, wobble)
    tissue = expit((ndimage.gaussian_filter(anatomy.white, 0.7, truncate=3.0) - 0.55) / 0.06)
    tissue = tissue * expit((anatomy.ventricle_distance - 0.3) / 0.3)
    level = np.clip(rng.uniform(0.50, 0.60) + 0.03 * _shape_noise(rng, 5.0), 0.46, 0.64)
    t2 = (level * scans["t2"].csf).astype(np.float32)
    images = {"t1": np.full_like(t2, 0.80), "t2": t2, "flair": (3 * level).astype(np.float32)}
    return Lesion((0.95 * opacity * tissue).astype(np.float32), images)


_MAKERS: Mapping[str, Callable[[np.random.Generator, Anatomy, Scans, int], Lesion]] = {
    "tumour": _tumour,
    "ms": _ms,
    "stroke": _stroke,
    "wmh": _wmh,
}
AGES = {"tumour": (30, 75), "ms": (20, 55), "stroke": (50, 80), "wmh": (58, 80)}
KINDS = tuple(_MAKERS)


def mass_effect(kind: str, seed: int) -> Push | None:
    """How the lesion deforms the brain; only tumours do."""
    return plan_tumour(seed).push if kind == "tumour" else None


def make_lesion(kind: str, seed: int, anatomy: Anatomy, scans: Scans) -> Lesion:
    """Make a lesion of one of :data:`KINDS` in a brain that was made with :func:`mass_effect` of the same seed."""
    return _MAKERS[kind](np.random.default_rng([seed, 2]), anatomy, scans, seed)
