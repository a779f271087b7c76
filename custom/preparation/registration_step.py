# SPDX-License-Identifier: Apache-2.0
"""Registration as a step: a scan moves into the space of the training scans, its voxels stay as they are.

The prepared cohorts of the papers lie in a space whose brains are smaller than the packaged template's: the mean of 40
prepared IXI scans registers to it with scales of 0.878, 0.878 and 0.874, no turn and no shift beyond 0.1 mm.
:data:`COHORT_SCALE` is that factor; a model trained on scans in template space takes 1.
"""

from dataclasses import dataclass

import numpy as np

from ..volumes.packaged_template import SPACE, brain_template
from ..volumes.resampling import resample
from .brain_extraction import RECORD as EXTRACTION_RECORD
from .brain_extraction import mask_ml
from .registration import TemplateRegistration, register_to_template
from .subject import Subject

RECORD, MASK_RECORD = "registration", "brain_mask"
COHORT_SCALE = 0.877
COHORT_CENTRE_MM = (0.0, -14.0, 7.0)
RIM_MM = 4.0
OUTSIDE_MM = 2.0
IN_PLACE_OVERLAP = 0.9
NOT_REGISTERED = (
    "the brain does not lie where the training scans do, and was not registered: its size and pose are those of the scan; "
    "--register always registers it"
)


def centre_of(scale: float) -> tuple[float, float, float]:
    """Return the centre of the model's grid in a space of another scale than that of the papers' cohorts.

    >>> centre_of(COHORT_SCALE)
    (0.0, -14.0, 7.0)
    """
    x, y, z = (value * scale / COHORT_SCALE for value in COHORT_CENTRE_MM)
    return x, y, z


@dataclass(frozen=True)
class RegisterToTemplate:
    """Affine registration to the packaged average brain; scans that lie in the wanted space already are left alone.

    An extractor's mask is compared with the registered template's. The template's, shrunk by :data:`RIM_MM`, is added: a lesion
    at the surface that the extractor cut off would otherwise be hidden. What lies more than :data:`OUTSIDE_MM` outside the
    template's is left out: fluid at the base, optic nerves and dura, which masks of prepared cohorts leave out and models mark
    as anomalies.

    Attributes:
        scale: of the training scans' space: brains are this much smaller than in template space along every axis.
        centre_mm: centre of the model's grid in that space.
        seed: of the voxels that the last step of the search looks at.
        also_extracted: register brains too that came without a skull; else only heads that an extractor was needed for.

    >>> to_template_space = RegisterToTemplate(scale=1.0, centre_mm=centre_of(1.0))
    >>> subject = Subject("case1", np.zeros((4, 4, 4), np.float32), np.eye(4))
    >>> to_template_space(subject) is subject  # it has no brain mask yet: put an extraction before this step
    True
    """

    scale: float = COHORT_SCALE
    centre_mm: tuple[float, float, float] = COHORT_CENTRE_MM
    seed: int = 0
    also_extracted: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "centre_mm", tuple(float(v) for v in self.centre_mm))

    def __call__(self, subject: Subject) -> Subject:
        """Return the subject in the wanted space; the matrix and its quality stand in its record."""
        if subject.mask is None or subject.is_flat:
            return subject
        overlap = self._overlap_in_place(subject)
        raw = "weights_sha256" in subject.record.get(EXTRACTION_RECORD, {})
        if subject.registered or (overlap >= IN_PLACE_OVERLAP and not raw):
            placed = np.diag([self.scale] * 3 + [1.0])
            record = {"in_place": True, "mask_overlap": round(overlap, 4), "template_to_scan": placed.tolist()}
            return subject.recorded(RECORD, {"template": SPACE, "scale": self.scale, **record})
        if not (raw or self.also_extracted):
            return subject.replaced(notes=(NOT_REGISTERED,))
        found = register_to_template(subject.image, subject.mask, subject.affine, subject.case, self.seed)
        if raw:
            subject = join_template_mask(subject, found)
        to_scan = found.template_to_scan @ np.diag([1 / self.scale] * 3 + [1.0])
        from_scan = np.linalg.inv(to_scan)
        boxes = subject.truth_boxes
        moved = subject.replaced(
            affine=from_scan @ subject.affine,
            to_scan_world=subject.to_scan_world @ to_scan,
            truth_boxes=None if boxes is None else boxes @ from_scan[:3, :3].T + from_scan[:3, 3],
            centre_mm=self.centre_mm,
            brain_ml=mask_ml(subject.brain > 0, subject.affine),
        )
        return moved.recorded(RECORD, {"template": SPACE, "scale": self.scale, **found.as_json()})

    def _overlap_in_place(self, subject: Subject) -> float:
        """Return the Dice coefficient of the brain and the template's where the header says that the brain lies."""
        template = brain_template()
        grid = np.diag([self.scale] * 3 + [1.0]) @ template.affine
        seen = resample((subject.brain > 0).astype(np.float32), subject.affine, grid, template.mask.shape) > 0.5
        return 2 * float((seen & template.mask).sum()) / float(seen.sum() + template.mask.sum())


def join_template_mask(subject: Subject, found: TemplateRegistration) -> Subject:
    """Return the subject with a brain mask between the template's, shrunk by 4 mm, and the template's, grown by 2 mm."""
    brain = subject.brain > 0
    core = found.template_mask_in_scan(subject.affine, subject.image.shape, -RIM_MM)
    near = found.template_mask_in_scan(subject.affine, subject.image.shape, OUTSIDE_MM)
    joined = np.asarray((brain & near) | core)
    added, left_out = (float(part.sum()) / float(joined.sum()) for part in (core & ~brain, brain & ~near))
    notes = (
        f"{added:.1%} of the brain mask come from the template: the extractor had left them out",
        f"{left_out:.1%} of the extractor's mask lie more than {OUTSIDE_MM:g} mm outside the average brain (fluid at the base, optic "
        "nerves, dura) and were not examined",
    )
    shares = {"added": round(added, 4), "left_out": round(left_out, 4)}
    worth_saying = tuple(note for note, share in zip(notes, (added, left_out), strict=True) if share > 0.01)
    return subject.replaced(mask=joined.astype(np.uint8), notes=worth_saying).recorded(MASK_RECORD, shares)
