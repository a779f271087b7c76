# SPDX-License-Identifier: Apache-2.0
"""What is brain: one rule for training, evaluation and a user's scan.

A mask decides where there is one. Without it the scan must be an extracted brain on a background of one value, which
need not be 0 (-1, 12 or the mean of a z-scored scan are as good): the background is what the border of the volume
holds, and the brain the largest connected part of all else, holes filled. If the edge was interpolated after the
extraction, as every registration does, the outermost voxels are part brain, part background and would count as
anomalies: voxels below half of the tissue beside them are then cut off. On ten real scans, 0 to 13 % of the edge voxels
lay below a fifth of their tissue before an interpolation and 40 to 71 % after it; the cut came within 1 % of the volume.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.errors import DataError
from ..volumes.resampling import Floats
from .skull import refuse_skull
from .subject import Mask, Subject

NOTE_INTERPOLATED = "the edge of the brain was interpolated: cut at half of the tissue beside it"
_NOISE = 1e-4  # of the strongest signal: rounding of a constant background
_BORDER_SHARE = 0.5
_ONE_SIDED = (0.75, 0.995)
_INTERPOLATED_SHARE, _FAINT, _HALF = 0.25, 0.2, 0.5
_NEIGHBOURHOOD = 5
_CUBE = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class BrainMask:
    """Find the brain of a subject without mask, and refuse a mask that cannot be one.

    Attributes:
        min_ml: smallest volume that counts as a brain.
        max_ml: largest volume.
        max_share: largest share of the field of view.
        min_field_ml: smaller fields of view cannot hold a brain (crops, phantoms) and are not judged.

    >>> image = np.zeros((20, 20, 20), np.float32)
    >>> image[4:16, 4:16, 4:16] = 1
    >>> subject = BrainMask()(Subject("case1", image, np.diag([4.0, 4, 4, 1])))
    >>> int(subject.brain.sum()), round(subject.brain_ml, 1)
    (1728, 110.6)
    """

    min_ml: float = 100.0
    max_ml: float = 3000.0
    max_share: float = 0.95
    min_field_ml: float = 500.0

    def __call__(self, subject: Subject) -> Subject:
        """Return the subject with a brain mask; an image without given mask gets one value outside the brain."""
        if subject.mask is None:
            background = background_of(subject.image)
            if not subject.is_flat:
                refuse_skull(above_background(subject.image), np.array(subject.spacing_mm), subject.case)
            if background is None:
                raise DataError(
                    "the background is not one value, so the brain cannot be told from it; set the background to 0 or give "
                    "the brain mask (--mask)",
                    case=subject.case,
                )
            mask, notes = find_brain(subject.image, background, subject.case)
            outside = min(background, float(subject.image[mask > 0].min()))
            image = np.where(mask > 0, subject.image, np.float32(outside))
            subject = subject.replaced(image=image, mask=mask, notes=notes)
        voxels = int(np.count_nonzero(subject.brain))
        if not voxels:
            raise DataError("the brain mask is empty: nothing to score; check the mask file", case=subject.case)
        ml = float(voxels) * float(abs(np.linalg.det((subject.to_scan_world @ subject.affine)[:3, :3]))) / 1000
        self._refuse_implausible(subject, ml, voxels / subject.brain.size)
        return subject.replaced(brain_ml=ml)

    def _refuse_implausible(self, subject: Subject, ml: float, share: float) -> None:
        if not subject.is_flat and ml / share < self.min_field_ml:
            return
        if share > self.max_share:
            raise DataError(
                f"the brain mask covers {share:.0%} of the field of view, so it marks no brain; give the mask of the brain, or "
                "a scan whose background has one value",
                case=subject.case,
            )
        if not subject.is_flat and not self.min_ml <= ml <= self.max_ml:
            raise DataError(
                f"the brain mask has {ml:.0f} ml, which is no brain (expected {self.min_ml:g} to {self.max_ml:g} ml); check the "
                "mask and the voxel size of the scan",
                case=subject.case,
            )


def background_of(image: Floats) -> float | None:
    """Return the value that most of the border of ``[X, Y, Z]`` has, or None if there is no such value."""
    border = _border(image)
    background = float(np.median(border))
    noise = _noise(image - np.float32(background))
    return background if float((np.abs(border - background) <= noise).mean()) >= _BORDER_SHARE else None


def above_background(image: Floats) -> Floats:
    """Return the distance of every voxel of ``[X, Y, Z]`` from the value of the background; ``image`` if there is none."""
    background = background_of(image)
    return image if background is None else np.abs(image - np.float32(background))


def find_brain(image: Floats, background: float, case: str) -> tuple[Mask, tuple[str, ...]]:
    """Return the brain mask of an extracted brain ``[X, Y, Z]`` on a background of one value, and notes.

    Raises:
        DataError: there is nothing but background.
    """
    signal = image - np.float32(background)
    noise = _noise(signal)
    foreground = np.abs(signal) > noise
    notes: tuple[str, ...] = ()
    above = float((signal[foreground] > 0).mean()) if foreground.any() else 1.0
    ringing = _ONE_SIDED[0] <= above < _ONE_SIDED[1]  # of a B-spline: it swings below the background and back
    if ringing:
        undershoot = -float(np.percentile(signal[signal < -noise], 5))
        foreground = signal > undershoot
    brain = _filled(largest_part(foreground))
    if above >= _ONE_SIDED[0]:
        cut = _without_interpolated_edge(signal, brain, ringing)
        if cut is not brain:
            brain, notes = _filled(largest_part(cut)), (NOTE_INTERPOLATED,)
    if not brain.any():
        raise DataError("the scan holds nothing but background; export it again", case=case)
    return brain.astype(np.uint8), notes


def _without_interpolated_edge(signal: Floats, brain: NDArray[np.bool_], certain: bool) -> NDArray[np.bool_]:
    """Return ``brain`` without the voxels below half of their tissue; itself if its edge looks sharp (and no one is certain)."""
    flat = brain.shape[2] == 1
    cube = _CUBE[:, :, 1:2] if flat else _CUBE
    inner = ndimage.binary_erosion(brain, cube)
    edge = brain & ~ndimage.binary_erosion(brain, ndimage.generate_binary_structure(3, 1)[:, :, 1:2] if flat else None)
    size = (_NEIGHBOURHOOD, _NEIGHBOURHOOD, 1 if flat else _NEIGHBOURHOOD)
    weight = ndimage.uniform_filter(inner.astype(np.float32), size)
    tissue = ndimage.uniform_filter(np.where(inner, signal, 0), size) / np.maximum(weight, 1e-6)
    edge &= weight > 1e-3
    faint = float((np.abs(signal[edge]) < _FAINT * tissue[edge]).mean()) if edge.any() else 0.0
    if not certain and faint < _INTERPOLATED_SHARE:
        return brain
    return brain & ~(edge & (signal < _HALF * tissue))  # type: ignore[no-any-return]


def _noise(signal: Floats) -> float:
    return _NOISE * float(np.percentile(np.abs(signal), 99.9))


def _border(image: Floats) -> Floats:
    faces = [image[[0, -1]].ravel(), image[:, [0, -1]].ravel()]
    return np.concatenate(faces if image.shape[2] == 1 else [*faces, image[:, :, [0, -1]].ravel()])


def largest_part(foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of a mask."""
    labels, count = ndimage.label(foreground)
    if count < 2:
        return foreground
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1  # type: ignore[no-any-return]


def _filled(part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill holes; of a flat image within its plane."""
    if part.shape[2] == 1:
        return ndimage.binary_fill_holes(part[:, :, 0])[:, :, None]  # type: ignore[no-any-return]
    return ndimage.binary_fill_holes(part)  # type: ignore[no-any-return]
