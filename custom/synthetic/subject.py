# SPDX-License-Identifier: Apache-2.0
"""One synthetic subject: brain, optional lesion, its contrasts, mask and lesion mask on the output grid of 2 or 1 mm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..volumes.grid import halve_mean
from .anatomy import make_anatomy
from .contrast import COHORT_CONTRASTS, CONTRASTS, acquire, draw_levels, mix_tissues
from .fields import add_air
from .lesions import make_lesion, mass_effect
from .variety import DEMO, Variety

WHITE_LEVEL = 300  # stored brightness of white matter in a scan of gain 1
MASK_SHARE, LESION_SHARE = 0.5, 0.45  # share of a cell that must be brain, or lesion


@dataclass(frozen=True)
class Subject:
    """Arrays ``[96, 96, 80]`` (2 mm) or ``[192, 192, 160]`` (1 mm): int16 images per contrast (0 outside ``mask``), uint8 ``mask`` and ``seg``.

    >>> volume = np.zeros((96, 96, 80))
    >>> subject = Subject({"t1": volume.astype(np.int16)}, volume.astype(np.uint8), volume.astype(np.uint8))
    >>> list(subject.images), bool(subject.seg.any())  # a healthy one
    (['t1'], False)
    """

    images: Mapping[str, NDArray[np.int16]]
    mask: NDArray[np.uint8]
    seg: NDArray[np.uint8]


def make_subject(
    seed: int,
    age: float,
    kind: str | None = None,
    variety: Variety = DEMO,
    contrasts: Sequence[str] = COHORT_CONTRASTS,
    spacing_mm: int = 2,
) -> Subject:
    """Make a subject.

    Args:
        seed: decides everything. Anatomy, scanner and lesion use separate streams, so that ``kind=None`` gives the
            healthy twin of a patient: the same brain (before any mass effect), the same scanner noise.
        age: years.
        kind: ``None`` for a healthy subject, or one of :data:`.lesions.KINDS`.
        variety: how much subjects and scanners differ.
        contrasts: which of :data:`.contrast.CONTRASTS` to scan; an image does not depend on the others.
        spacing_mm: of the output grid, 2 or 1; the brain and its lesion are the same.
    """
    cells = halve_mean if spacing_mm == 2 else np.asarray
    streams = np.random.SeedSequence(seed).generate_state(4, np.uint64)
    body, disease, scanner, gain = (int(state) for state in streams)
    anatomy = make_anatomy(body, age, mass_effect(kind, disease) if kind else None, variety)
    generators = {name: np.random.default_rng([scanner, index]) for index, name in enumerate(CONTRASTS)}
    levels = {name: draw_levels(generators[name], name, variety) for name in CONTRASTS}
    lesion = make_lesion(kind, disease, anatomy, levels) if kind else None
    brain = cells(anatomy.inside) > MASK_SHARE
    seg = brain & (cells(lesion.mask) > LESION_SHARE) if lesion else np.zeros_like(brain)
    scale = WHITE_LEVEL * np.random.default_rng(gain).uniform(0.8, 1.25, len(CONTRASTS))
    images = {}
    for name, factor in zip(CONTRASTS, scale, strict=True):
        if name not in contrasts:
            continue
        fine = mix_tissues(anatomy, levels[name])
        if lesion:
            fine = lesion.blend(fine, name)
        image = acquire(generators[name], fine, anatomy.edge_distance, brain, name, variety)
        stored = np.clip(np.rint(image * factor), 1, 32767)  # no brain voxel is 0
        images[name] = add_air(np.where(brain, stored, 0)).astype(np.int16)
    return Subject(images, add_air(brain).astype(np.uint8), add_air(seg).astype(np.uint8))
