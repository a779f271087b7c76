# SPDX-License-Identifier: Apache-2.0
"""An individual healthy brain: the template deformed, its ventricles widened, its cortex folded anew.

Steps, each driven by the subject's own generator: an affine change; a stationary velocity field integrated by
scaling and squaring (a diffeomorphism); a displacement along the gradient of the distance to the ventricles; sharpened
tissue logits with noise in the cortex and fluid on the middle surfaces of the sulci; folia in the cerebellum; a brain
mask whose edge keeps a varying part of the sub-arachnoid space. Lengths are mm, arrays are on the fine grid.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit

from .fields import FINE_ORIGIN_MM, FINE_SHAPE, Array, Mask, noise_field, upsample
from .template import load_template
from .variety import DEMO, Variety

COARSE_SHAPE = (80, 96, 80)  # 2 mm cells of the fine grid
VELOCITY_SHAPE = (40, 48, 40)  # 4 mm
# (spacing of the noise, rms displacement) in mm: lobes, gyri, folds
VELOCITY_SCALES = ((32.0, 1.8), (16.0, 1.1), (9.0, 0.7))
# The template is larger than affinely registered scans; size and centre of mass were matched to 156 prepared scans.
MEAN_SCALE = (0.905, 0.905, 0.935)
TEMPLATE_CENTRE_MM = (0.0, -22.0, 9.6)
SUBJECT_CENTRE_MM = (0.2, -19.2, 9.2)
VENTRICLE_DECAY_MM = 9.0
SPLIT_GAIN, FLUID_GAIN = 2.6, 2.2  # sharpening of grey against white in the cortex, of fluid against tissue
SKULL_SMOOTHING_MM = 9.0
WHITE_BIAS, STEM_WHITE_BIAS = 0.3, 1.2
SECONDARY_SPACING_MM = 16.0
FOLIA_PERIOD_MM = 5.5
FOLIA_CENTRE_MM = (0.0, -42.0, -24.0)

Push = Callable[[Array], Array]  # positions [3, ...] mm -> displacement [3, ...] mm of the place to look up


@dataclass(frozen=True)
class Anatomy:
    """What the contrasts are computed from.

    Attributes:
        grey, white, csf: tissue fractions, sum 1 inside ``inside`` and 0 outside.
        residual: relative T1 brightness beyond the tissue mixture.
        inside: the skull-stripped brain.
        edge_distance: mm inside the edge of ``inside``; 0 outside.
        ventricle_distance: mm to the ventricles, negative inside.
        cortical: 0..1 weight of the folded cortex.
        iron: 0..1 weight of the nuclei that are dark on T2.
        atrophy: 0 (young) .. 1 (old).

    >>> from custom.synthetic.contrast import Levels, mix_tissues
    >>> zero, one = np.zeros((2, 2, 2), np.float32), np.ones((2, 2, 2), np.float32)
    >>> distances = {"edge_distance": one, "ventricle_distance": one}
    >>> white = Anatomy(zero, one, zero, zero, one > 0, **distances, cortical=zero, iron=zero, atrophy=0.0)
    >>> float(mix_tissues(white, Levels(grey=0.75, csf=0.24, residual=1.2, iron=0.0)).max())
    1.0
    """

    grey: Array
    white: Array
    csf: Array
    residual: Array
    inside: Mask
    edge_distance: Array
    ventricle_distance: Array
    cortical: Array
    iron: Array
    atrophy: float


def _rotation(angles: Array) -> Array:
    """Rotation matrix of small angles (radians) about x, y, z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix.astype(np.float32)


def _grid_mm(shape: tuple[int, int, int]) -> Array:
    """RAS positions ``[3, *shape]`` of the cell centres of a grid over the same box as the fine grid."""
    step = FINE_SHAPE[0] / shape[0]
    axes = [o - 0.5 + step * (np.arange(n) + 0.5) for o, n in zip(FINE_ORIGIN_MM, shape, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def _sample(volume: Array, position_mm: Array, step: float = 1.0) -> Array:
    """Linear interpolation of a volume with cells of ``step`` mm at RAS positions ``[3, ...]``."""
    origin = np.asarray(FINE_ORIGIN_MM, dtype=np.float32).reshape(3, *[1] * (position_mm.ndim - 1))
    index = (position_mm - origin + np.float32(0.5)) / np.float32(step) - np.float32(0.5)
    return np.asarray(ndimage.map_coordinates(volume, index, order=1, mode="nearest"))


def inverse_mean_affine(template_mm: Array) -> Array:
    """Where a template position lies in the average subject, RAS mm ``[3]``."""
    centred = (np.asarray(template_mm) - TEMPLATE_CENTRE_MM) * MEAN_SCALE + SUBJECT_CENTRE_MM
    return np.asarray(centred, dtype=np.float32)


def _diffeomorphism(rng: np.random.Generator) -> Array:
    """Displacement ``[3, *COARSE_SHAPE]`` in mm of a random smooth invertible deformation."""
    velocity = np.zeros((3, *VELOCITY_SHAPE), dtype=np.float32)
    for spacing, rms in VELOCITY_SCALES:
        for component in velocity:
            component += np.float32(rms) * noise_field(rng, VELOCITY_SHAPE, spacing / 4)
    grid = _grid_mm(VELOCITY_SHAPE)
    displacement = velocity / np.float32(2**5)
    for _ in range(5):
        there = grid + displacement
        displacement = displacement + np.stack([_sample(component, there, 4.0) for component in displacement])
    return np.stack([upsample(component, COARSE_SHAPE) for component in displacement])


def _template_positions(rng: np.random.Generator, atrophy: float, push: Push | None, variety: Variety) -> Array:
    """Where each 2 mm cell of the subject lies in the template, RAS mm ``[3, *COARSE_SHAPE]``."""
    template = load_template()
    scale = np.asarray(MEAN_SCALE, dtype=np.float32) * (
        1 + rng.uniform(-variety.scale, variety.scale, 3).astype(np.float32)
    )
    matrix = _rotation(np.deg2rad(rng.uniform(-variety.rotation_deg, variety.rotation_deg, 3))) / scale[:, None]
    shift = rng.uniform(-variety.shift_mm, variety.shift_mm, 3)
    grid = _grid_mm(COARSE_SHAPE)
    deformation = _diffeomorphism(rng)
    individual_mm = rng.normal(0, variety.ventricle_sd_mm)
    widening_mm = np.clip(-0.6 + 2.6 * atrophy + individual_mm, -0.7, variety.ventricle_max_mm)
    local = 1 + np.float32(0.25) * noise_field(rng, COARSE_SHAPE, 20.0)
    place = grid + deformation
    if push is not None:
        place = place + push(place)
    centred = place - (np.asarray(SUBJECT_CENTRE_MM) + shift).astype(np.float32).reshape(3, 1, 1, 1)
    centre = np.asarray(TEMPLATE_CENTRE_MM, dtype=np.float32).reshape(3, 1, 1, 1)
    place = np.tensordot(matrix, centred, axes=(1, 0)) + centre
    decay = np.exp(-np.maximum(_sample(template.ventricle_distance, place), 0) / np.float32(VENTRICLE_DECAY_MM))
    outward = np.stack([_sample(component, place, 2.0) for component in template.ventricle_gradient])
    return np.asarray(place - np.float32(widening_mm) * local * decay * outward, dtype=np.float32)


def _folia(rng: np.random.Generator, position_mm: Array) -> Array:
    """-1..1, layers around the fourth ventricle at template positions ``[3, n]``."""
    offset = position_mm - np.asarray(FOLIA_CENTRE_MM, dtype=np.float32)[:, None]
    offset[0] *= np.float32(0.6)
    radius = np.sqrt((offset**2).sum(axis=0))
    return np.asarray(np.cos(2 * np.pi * (radius / FOLIA_PERIOD_MM + rng.uniform(0, 1))), dtype=np.float32)


def _secondary_sulci(rng: np.random.Generator, grid: Array, depth: Array) -> tuple[Array, Array]:
    """Individual small sulci: ``(fluid, grey)`` weights 0..1 of sheets perpendicular to the brain's surface.

    The sheets are the zero crossings of noise that is constant along the rays from the brain's centre, so they cut
    into the hemispheres like sulci do; the average brain has lost this fine folding.
    """
    ray = grid - np.asarray(SUBJECT_CENTRE_MM, dtype=np.float32).reshape(3, 1, 1, 1)
    ray *= np.float32(60) / np.maximum(np.sqrt((ray**2).sum(axis=0)), 1)
    level = _sample(noise_field(rng, COARSE_SHAPE, SECONDARY_SPACING_MM / 2), ray, 2.0)
    away_mm = np.abs(level) / (np.sqrt(sum(slope**2 for slope in np.gradient(level, 2.0))) + np.float32(0.02))
    presence = np.clip(0.6 + noise_field(rng, COARSE_SHAPE, 10.0), 0, 1)
    fluid = presence * np.exp(-((away_mm / 1.0) ** 2)) * np.clip((11 - depth) / 5, 0, 1)
    grey = presence * np.exp(-((away_mm / 3.2) ** 2)) * np.clip((15 - depth) / 5, 0, 1)
    return upsample(fluid.astype(np.float32), FINE_SHAPE), upsample(grey.astype(np.float32), FINE_SHAPE)


def make_anatomy(seed: int, age: float, push: Push | None = None, variety: Variety = DEMO) -> Anatomy:
    """Make one brain.

    The same seed without and with ``push``, the mass effect of a lesion, is the same person; age (years) drives atrophy
    (wider ventricles and sulci) with individual scatter.
    """
    rng = np.random.default_rng(seed)
    template = load_template()
    atrophy = float(np.clip((age - 20) / 60 + rng.normal(0, 0.15), 0, 1))
    coarse = _template_positions(rng, atrophy, push, variety)
    position = np.stack([upsample(component, FINE_SHAPE) for component in coarse])
    # the skull follows neither gyri nor swelling: its inner face is a smoothed version of the deformation
    grid = _grid_mm(COARSE_SHAPE)
    skull = [ndimage.gaussian_filter(shift, SKULL_SMOOTHING_MM / 2, mode="nearest") for shift in coarse - grid]
    coarse_depth = _sample(template.depth, grid + np.stack(skull))
    depth = upsample(coarse_depth, FINE_SHAPE)
    edge_distance = depth - rng.uniform(*variety.edge_mm) - np.float32(0.7) * noise_field(rng, FINE_SHAPE, 8.0)
    inside = edge_distance > 0
    labels, _ = ndimage.label(inside)
    inside = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1

    def smooth(name: str) -> Array:
        return upsample(_sample(getattr(template, name), coarse), FINE_SHAPE)

    where = position[:, inside]
    grey, white, csf, residual, sulcal = (
        _sample(getattr(template, name), where) for name in ("grey", "white", "csf", "residual", "sulcal")
    )
    cortical, cerebellar = smooth("cortical"), smooth("cerebellar")
    bark, leaf = cortical[inside], cerebellar[inside]
    fold = 1.1 * noise_field(rng, FINE_SHAPE, 5.0)[inside] + 0.9 * noise_field(rng, FINE_SHAPE, 9.0)[inside]
    sulci = 0.7 * noise_field(rng, FINE_SHAPE, 6.0)[inside] + 0.7 * noise_field(rng, FINE_SHAPE, 22.0)[inside]
    small_fluid, small_grey = (weight[inside] for weight in _secondary_sulci(rng, grid, coarse_depth))
    opening = rng.uniform(3.0, 4.5) + 2.0 * atrophy
    bias = -0.6 + 0.9 * atrophy + rng.uniform(-0.15, 0.15)
    folia = _folia(rng, where)
    tiny = np.float32(0.01)
    gain = 1 + (SPLIT_GAIN - 1) * np.maximum(bark, leaf)
    split = gain * np.log((white + tiny) / (grey + tiny))
    split += bark * (WHITE_BIAS - fold - 3.0 * small_grey) + leaf * (0.4 - 2.0 * folia)
    split += STEM_WHITE_BIAS * (1 - np.maximum(bark, leaf)) * np.clip((-6 - where[2]) / 8, 0, 1)
    fluid = FLUID_GAIN * np.log((csf + tiny) / (grey + white + tiny))
    fluid += bark * (opening * (sulcal + small_fluid) + bias + sulci) + leaf * (bias + 1.2 * folia)
    csf_share = expit(fluid)
    white_share = (1 - csf_share) * expit(split)

    def spread(values: Array) -> Array:
        volume = np.zeros(FINE_SHAPE, dtype=np.float32)
        volume[inside] = values
        return volume

    return Anatomy(
        grey=spread(1 - csf_share - white_share),
        white=spread(white_share),
        csf=spread(csf_share),
        residual=spread(residual),
        inside=inside,
        edge_distance=np.where(inside, edge_distance, 0).astype(np.float32),
        ventricle_distance=smooth("ventricle_distance"),
        cortical=cortical,
        iron=smooth("iron"),
        atrophy=atrophy,
    )
