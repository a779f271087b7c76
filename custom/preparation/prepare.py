# SPDX-License-Identifier: Apache-2.0
"""Presets of the preparation, and their use on a case of a cohort.

Steps: orientation, brain mask, smoothing, centred crop or pad to the field of view, clipping to percentiles of the
brain and scaling to [0, 1], halving of 1 mm scans. Presets (Behrendt et al., ISBI 2024):

==================  ====================================================  =============================================
step                ``isbi2024``: the released code                       ``standard``: corrected
==================  ====================================================  =============================================
smoothing           curvature flow, 3 steps of 0.125 (not in the paper)   none; ``smoothing="curvature_flow"`` adds it
image halved by     cubic B-spline at cell centres, no anti-aliasing      mean of the 2x2x2 cell
labels halved by    voxel 2k+1 (half a source voxel off the image)        at least half of the same cell
image range         over- and undershoots [0, 1] at edges                 [0, 1], zero outside the mask
interpolated label  above 0                                               refused, or ``label_threshold``
==================  ====================================================  =============================================

Majority halving removes lesions thinner than a working voxel; a ground truth that becomes empty, or loses more than
half of its volume, is reported in the notes of the case.
"""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ConfigError
from ..volumes.read import read_label, read_scan
from ..volumes.records import ScanRecord
from .brain import BrainMask
from .field_of_view import FieldOfView
from .intensity import ScaleIntensity, ScaleToTissue
from .orient import Orient
from .registration_step import COHORT_SCALE
from .smoothing import CurvatureFlow
from .subject import Step, Subject
from .to_grid import ClipAndMask, ToGrid

PREPARATION_VERSION = 3
NOTE_NO_MASK = "no brain mask: what is not background is taken as brain"


@dataclass(frozen=True)
class Preparation:
    """The steps from a scan to the model's grid; part of the protocol and of the cache key.

    Attributes:
        name: name of the preset, or another one for own settings.
        steps: in order; exactly one of them is a :class:`~custom.preparation.field_of_view.FieldOfView`.
        label_threshold: value above which interpolated labels count; None refuses them.
        template_scale: size of the training scans' brains as a share of the packaged template's, along every axis; raw scans
            are registered to that space (:mod:`custom.preparation.registration_step`).

    >>> preparation("standard").spacing_mm
    2.0
    """

    name: str
    steps: tuple[Step, ...]
    label_threshold: float | None = None
    template_scale: float = COHORT_SCALE

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if sum(isinstance(step, FieldOfView) for step in self.steps) != 1:
            raise ConfigError(f"the preparation {self.name} needs exactly one FieldOfView among its steps")
        if not 0.5 <= self.template_scale <= 1.5:
            raise ConfigError(f"preparation: template_scale must lie in 0.5..1.5, got {self.template_scale!r}")

    @property
    def field_of_view(self) -> FieldOfView:
        """The step that knows the model's grid."""
        return next(step for step in self.steps if isinstance(step, FieldOfView))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the model's grid."""
        return self.field_of_view.shape

    @property
    def spacing_mm(self) -> float:
        """Voxel size of the model's grid."""
        return self.field_of_view.spacing_mm

    def __call__(self, subject: Subject) -> Subject:
        """Return the subject after all steps; a ``DataError`` says why it cannot be prepared."""
        truth_ml = _ml(subject.truth_mask, subject)
        for step in self.steps:
            subject = step(subject)
        return subject if truth_ml is None else subject.replaced(notes=_lost_truth(truth_ml, subject))

    def describe(self) -> dict[str, Any]:
        """Return all settings and the version of the code, for the protocol block."""
        steps = [{"step": type(step).__name__, **dataclasses.asdict(step)} for step in self.steps]  # type: ignore[call-overload]
        return {
            "version": PREPARATION_VERSION,
            "name": self.name,
            "steps": json.loads(json.dumps(steps)),
            "label_threshold": self.label_threshold,
            "template_scale": self.template_scale,
        }

    def digest(self) -> str:
        """Return SHA-256 of what changes a prepared scan in :meth:`describe`: name and space of raw scans do not count."""
        settings = {key: value for key, value in self.describe().items() if key not in ("name", "template_scale")}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


PRESETS: dict[str, dict[str, Any]] = {
    "standard": {},
    "isbi2024": {
        "smoothing": "curvature_flow",
        "image_halving": "bspline",
        "label_halving": "nearest_upper",
        "clip_and_mask": False,
        "label_threshold": 0.0,
    },
}


def preparation(preset: str = "standard", before: Sequence[Step] = (), **changes: Any) -> Preparation:
    """Return one of :data:`PRESETS`, with some settings changed: ``preparation("standard", smoothing="curvature_flow")``.

    Args:
        preset: its name.
        before: steps on the scan's own grid, between orientation and brain mask (extraction, registration, bias field).
        **changes: settings of the steps, see :func:`_steps`; ``name``, ``label_threshold`` and ``template_scale``.

    Raises:
        ConfigError: no such preset or setting.
    """
    if preset not in PRESETS:
        raise ConfigError(f"no preparation is called {preset!r}; known: {', '.join(PRESETS)}")
    known = {"name", "label_threshold", "template_scale", *list(inspect.signature(_steps).parameters)[1:]}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise ConfigError(f"preparation: unknown setting {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    own = {"name": preset, "label_threshold": None, "template_scale": COHORT_SCALE}
    settings = {**own, **PRESETS[preset], **changes}
    name, label_threshold, template_scale = (settings.pop(key) for key in own)
    return Preparation(name, _steps(before, **settings), label_threshold, float(template_scale))


def _steps(
    before: Sequence[Step],
    shape: Sequence[int] = (96, 96, 50),
    spacing_mm: float = 2.0,
    smoothing: str = "none",
    smoothing_steps: int = 3,
    smoothing_time_step: float = 0.125,
    smooth_working_grid: bool = False,
    percentiles: Sequence[float] = (1.0, 99.0),
    tissue: float | None = None,
    image_halving: Any = "mean",
    label_halving: Any = "majority",
    clip_and_mask: bool = True,
) -> tuple[Step, ...]:
    """Return the steps for the settings of a preset."""
    if smoothing not in ("none", "curvature_flow"):
        raise ConfigError(f"preparation: smoothing must be one of ('none', 'curvature_flow'), got {smoothing!r}")
    limits = tuple(percentiles)
    smooth = CurvatureFlow(smoothing_steps, smoothing_time_step, spacing_mm, smooth_working_grid)
    steps = [
        Orient(),
        *before,
        BrainMask(),
        smooth if smoothing == "curvature_flow" else None,
        FieldOfView(tuple(shape), spacing_mm),  # type: ignore[arg-type]
        ScaleIntensity(limits) if tissue is None else ScaleToTissue(limits, float(tissue)),  # type: ignore[arg-type]
        ToGrid(image_halving, label_halving),
        ClipAndMask() if clip_and_mask else None,
    ]
    return tuple(step for step in steps if step is not None)


def read_subject(
    case: str,
    image: Path,
    mask: Path | None,
    seg: Path | None,
    label_threshold: float | None = None,
    registered: bool = False,
) -> Subject:
    """Return a scan as its files store it, with brain mask and segmentation; see :class:`Preparation`, :class:`Subject`."""
    scan = read_scan(image, case)
    labels = {
        kind: read_label(path, scan, case, kind, label_threshold)
        for kind, path in (("mask", mask), ("seg", seg))
        if path is not None
    }
    missing = (NOTE_NO_MASK,) if registered and mask is None else ()
    notes = (*scan.note_texts, *missing, *(note for label in labels.values() for note in label.notes))
    brain, truth = (labels[kind].array if kind in labels else None for kind in ("mask", "seg"))
    return Subject(case, scan.array, scan.affine, mask=brain, truth_mask=truth, registered=registered, notes=notes)


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case on the working grid: arrays ``[1, X, Y, Z]`` in RAS axes and the affine of this grid (mm).

    >>> brain = np.ones((1, 6, 6, 6), np.uint8)
    >>> PreparedCase(brain.astype(np.float32), brain, 0 * brain, np.diag([2.0, 2, 2, 1]), notes=()).image.shape
    (1, 6, 6, 6)
    """

    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    seg: NDArray[np.uint8]
    affine: NDArray[np.float64]
    notes: tuple[str, ...]


def prepare_case(record: ScanRecord, preparation: Preparation) -> PreparedCase:
    """Read and prepare one scan of a cohort with its mask and segmentation.

    Raises:
        DataError: unusable file, spacing other than 1 or 2 mm, mask empty on the working grid, no contrast.
    """
    threshold = preparation.label_threshold
    files = record.image, record.mask, record.seg
    subject = preparation(read_subject(record.case_id, *files, label_threshold=threshold, registered=True))
    truth = np.zeros_like(subject.brain) if subject.truth_mask is None else subject.truth_mask
    return PreparedCase(
        np.ascontiguousarray(subject.image, dtype=np.float32)[None],
        np.ascontiguousarray(subject.brain)[None],
        np.ascontiguousarray(truth)[None],
        subject.affine,
        subject.notes,
    )


def _ml(label: NDArray[np.uint8] | None, subject: Subject) -> float | None:
    return None if label is None else float(label.sum()) * float(np.prod(subject.spacing_mm)) / 1000


def _lost_truth(before_ml: float, subject: Subject) -> tuple[str, ...]:
    after_ml = _ml(subject.truth_mask, subject) or 0.0
    if before_ml == 0:
        return ("the ground truth is empty",)
    if after_ml == 0:
        return (
            f"the ground truth ({before_ml:.3g} ml) is empty on the working grid: Dice is not defined for this case",
        )
    if after_ml < before_ml / 2:
        return (f"the ground truth shrinks from {before_ml:.3g} to {after_ml:.3g} ml on the working grid",)
    return ()
