# SPDX-License-Identifier: Apache-2.0
"""One scan through the raw steps, kept at every stage that the quality page shows.

The steps are those of :func:`custom.preparation.raw_scans.raw_steps`, which ``uad predict`` uses too. The scan is
interpolated once: from its own voxels to those of the cohort's grid.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..preparation.brain import BrainMask
from ..preparation.brain_extraction import extract_brain, installed_extractors
from ..preparation.intensity import brain_on_grid
from ..preparation.orient import Orient
from ..preparation.raw_scans import raw_steps
from ..preparation.registration_step import COHORT_SCALE, centre_of
from ..preparation.scan_quality import Measure, measures, worst
from ..preparation.subject import Subject, TargetGrid
from ..volumes.resampling import Affine, Floats, resample

GRID_SHAPE = (192, 192, 160)


@dataclass(frozen=True)
class RawSettings:
    """What decides a prepared scan beside the scan.

    Attributes:
        extractor, bias_field, register, scale: see :func:`custom.preparation.raw_scans.raw_steps`.
        spacing_mm: voxel size of the written scans, 1 or 2.
        compare_extractors: let a second installed extractor run too and compare the masks.

    >>> RawSettings(spacing_mm=2.0).grid[0]
    (96, 96, 80)
    """

    extractor: str = "auto"
    bias_field: str = "n4"
    register: str = "always"
    scale: float = COHORT_SCALE
    spacing_mm: float = 1.0
    compare_extractors: bool = False

    @property
    def grid(self) -> tuple[tuple[int, int, int], Affine]:
        """Shape and affine of the written scans."""
        x, y, z = (round(n / self.spacing_mm) for n in GRID_SHAPE)
        affine = np.diag([self.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = np.array(centre_of(self.scale)) - (np.array([x, y, z]) - 1) / 2 * self.spacing_mm
        return (x, y, z), affine


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan after the chain.

    Attributes:
        native: the scan in RAS axes with its brain mask, not corrected.
        moved: corrected, in the cohort's space; its voxels are still those of ``native``.
        image, mask, seg: on the cohort's grid, zero outside the brain; ``seg`` None where no lesion mask was given.
        affine: of the cohort's grid.
        found: measures of quality.

    >>> subject = Subject("case1", np.zeros((2, 2, 2), np.float32), np.eye(4))
    >>> measured = (Measure("brain_ml", 900.0, "warn"), Measure("mask_overlap", 0.95, "ok"))
    >>> mask = np.ones((2, 2, 2), np.uint8)
    >>> PreparedScan(subject, subject, subject.image, mask, None, np.eye(4), measured).verdict
    'warn'
    """

    native: Subject
    moved: Subject
    image: Floats
    mask: NDArray[np.uint8]
    seg: NDArray[np.uint8] | None
    affine: Affine
    found: tuple[Measure, ...]

    @property
    def verdict(self) -> str:
        """The worst verdict of all measures."""
        return worst(list(self.found))


def prepare_scan(subject: Subject, settings: RawSettings) -> PreparedScan:
    """Return a scan after extraction, bias correction and registration.

    Raises:
        DataError: no brain, or a pose that cannot be right.
    """
    subject = Orient()(subject)
    steps = raw_steps(settings.extractor, settings.bias_field, settings.register, settings.scale)
    extracted = BrainMask()(steps[0](subject))
    moved = extracted
    for step in steps[1:]:
        moved = step(moved)
    native = extracted.replaced(mask=moved.mask)
    agreement = _agreement(extracted) if settings.compare_extractors else None
    shape, grid = settings.grid
    image, mask = brain_on_grid(moved.image, moved.brain, moved.affine, TargetGrid(shape, grid, None))
    seg = None
    if moved.truth_mask is not None:
        seg = (resample(moved.truth_mask.astype(np.float32), moved.affine, grid, shape) > 0.5).astype(np.uint8)
    found = tuple(measures(native, moved.record, agreement))
    return PreparedScan(native, moved, image, mask, seg, grid, found)


def _agreement(extracted: Subject) -> float | None:
    used = str(extracted.record["brain_extraction"]["source"])
    other = next((name for name in installed_extractors() if name not in (used, "atlas")), None)
    if used not in installed_extractors() or other is None:
        return None
    mask = extract_brain(extracted.image, extracted.affine, other, extracted.case)
    brain = extracted.brain > 0
    return 2 * float((mask & brain).sum()) / float(mask.sum() + brain.sum())
