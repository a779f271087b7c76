# SPDX-License-Identifier: Apache-2.0
"""From a registered, skull-stripped scan to the papers' working grid: 96x96x50 voxels of 2 mm, intensities in [0, 1].

Input spacing decides: scans at 1 mm go through all steps, scans at 2 mm are on the working grid already and are only
cropped or padded, scaled and (``standard``) masked. Steps: smoothing, centred crop or pad to twice the working grid,
clipping to percentiles of the brain and scaling to [0, 1], halving. Presets (Behrendt et al., ISBI 2024):

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
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ConfigError, DataError
from ..volumes.grid import (
    crop_affine,
    crop_or_pad,
    halve_bspline,
    halve_majority,
    halve_mean,
    halve_nearest_upper,
    halved_affine,
)
from ..volumes.records import ScanRecord
from ..volumes.volume_io import Volume, read_label, read_volume

PREPARATION_VERSION = 2
_SPACING_TOLERANCE = 0.01
_CHOICES = {
    "smoothing": ("none", "curvature_flow"),
    "image_halving": ("mean", "bspline"),
    "label_halving": ("majority", "nearest_upper"),
}


@dataclass(frozen=True)
class Preparation:
    """All numbers of the preparation; part of the protocol and of the cache key.

    Attributes:
        name: name of the preset, or another one for own settings.
        shape: working grid in voxels.
        spacing_mm: working voxel size.
        smoothing: "none" or "curvature_flow" (ITK, on the source grid).
        smoothing_steps: iterations of the curvature flow.
        smoothing_time_step: its time step.
        smooth_working_grid: smooth scans that come at the working spacing too.
        percentiles: percentiles of the brain voxels that become 0 and 1.
        image_halving: "mean" or "bspline".
        label_halving: "majority" (at least four of the eight voxels of a cell) or "nearest_upper".
        clip_and_mask: clip the image to [0, 1] after halving and set it to zero outside the mask.
        label_threshold: value above which interpolated labels count; None refuses them.
    """

    name: str
    shape: tuple[int, int, int] = (96, 96, 50)
    spacing_mm: float = 2.0
    smoothing: Literal["none", "curvature_flow"] = "none"
    smoothing_steps: int = 3
    smoothing_time_step: float = 0.125
    smooth_working_grid: bool = False
    percentiles: tuple[float, float] = (1.0, 99.0)
    image_halving: Literal["mean", "bspline"] = "mean"
    label_halving: Literal["majority", "nearest_upper"] = "majority"
    clip_and_mask: bool = True
    label_threshold: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "percentiles", tuple(float(p) for p in self.percentiles))
        for key, choices in _CHOICES.items():
            if getattr(self, key) not in choices:
                raise ConfigError(f"preparation: {key} must be one of {choices}, got {getattr(self, key)!r}")
        if len(self.shape) != 3 or min(self.shape) < 1 or self.spacing_mm <= 0:
            raise ConfigError(f"preparation: shape {self.shape} and spacing {self.spacing_mm} mm must be positive")
        if len(self.percentiles) != 2 or not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ConfigError(f"preparation: percentiles must rise within 0..100, got {self.percentiles}")

    def describe(self) -> dict[str, Any]:
        """Return all settings and the version of the code, for the protocol block."""
        return {"version": PREPARATION_VERSION, **json.loads(json.dumps(dataclasses.asdict(self)))}

    def digest(self) -> str:
        """Return SHA-256 of :meth:`describe`; the name does not count."""
        settings = {key: value for key, value in self.describe().items() if key != "name"}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


PRESETS = {
    "standard": Preparation("standard"),
    "isbi2024": Preparation(
        "isbi2024",
        smoothing="curvature_flow",
        image_halving="bspline",
        label_halving="nearest_upper",
        clip_and_mask=False,
        label_threshold=0.0,
    ),
}


def preparation(preset: str = "standard", **changes: Any) -> Preparation:
    """Return a preset, with some settings changed: ``preparation("standard", smoothing="curvature_flow")``."""
    if preset not in PRESETS:
        raise ConfigError(f"no preparation is called {preset!r}; known: {', '.join(PRESETS)}")
    known = {field.name for field in dataclasses.fields(Preparation)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise ConfigError(f"preparation: unknown setting {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return dataclasses.replace(PRESETS[preset], **changes)


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case on the working grid: arrays ``[1, X, Y, Z]`` in RAS axes and the affine of this grid (mm)."""

    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    seg: NDArray[np.uint8]
    affine: NDArray[np.float64]
    notes: tuple[str, ...]


def prepare_case(record: ScanRecord, how: Preparation) -> PreparedCase:
    """Read and prepare one scan with its mask and segmentation.

    Raises:
        DataError: unusable file, spacing other than 1 or 2 mm, mask empty on the working grid, no contrast.
    """
    case = record.case_id
    image = read_volume(record.image, case)
    notes = list(image.notes)
    seg = None if record.seg is None else read_label(record.seg, image, case, "seg", how.label_threshold)
    if record.mask is None:
        inside = (image.array > 0).astype(np.uint8)
        mask = Volume(inside, image.affine, image.spacing, ("no brain mask: image above 0 taken",))
    else:
        mask = read_label(record.mask, image, case, "mask", how.label_threshold)
    notes += [note for label in (mask, seg) if label is not None for note in label.notes]
    halve = _needs_halving(image, how, case)
    shape = tuple(n * 2 for n in how.shape) if halve else how.shape

    array = np.asarray(image.array, dtype=np.float32)
    if how.smoothing == "curvature_flow" and (halve or how.smooth_working_grid):
        margin = how.smoothing_steps + 1  # a step looks one voxel far: what lies further outside need not be smoothed
        wide = [min(have, want + 2 * margin) for have, want in zip(array.shape, shape, strict=True)]
        array = curvature_flow(crop_or_pad(array, wide), image.spacing, how.smoothing_steps, how.smoothing_time_step)
    array = crop_or_pad(array, shape)
    brain, lesion = (
        np.zeros(shape, np.uint8) if label is None else crop_or_pad(np.asarray(label.array, dtype=np.uint8), shape)
        for label in (mask, seg)
    )
    affine = crop_affine(image.affine, image.array.shape, shape)
    array = scaled_to_percentiles(array, brain, how.percentiles, case)
    if halve:
        affine = halved_affine(affine)
        array = halve_mean(array) if how.image_halving == "mean" else halve_bspline(array)
        shrink = halve_majority if how.label_halving == "majority" else halve_nearest_upper
        brain, lesion = shrink(brain), shrink(lesion)
    if not brain.any():
        raise DataError(f"the brain mask is empty on the grid {how.shape}; the brain lies outside it", case=case)
    if how.clip_and_mask:
        array = np.clip(array, 0, 1) * brain
    if seg is not None:
        notes += _lost_lesion(seg, lesion, how.spacing_mm)
    return PreparedCase(
        np.ascontiguousarray(array, dtype=np.float32)[None],
        np.ascontiguousarray(brain)[None],
        np.ascontiguousarray(lesion)[None],
        affine,
        tuple(notes),
    )


def scaled_to_percentiles(
    image: NDArray[np.float32], brain: NDArray[np.uint8], percentiles: tuple[float, float], case: str
) -> NDArray[np.float32]:
    """Clip to percentiles of the voxels inside the brain and scale them to 0 and 1."""
    values = image[brain > 0]
    if values.size == 0:
        raise DataError("the brain mask is empty after cropping to the working field of view", case=case)
    low, high = np.percentile(values, percentiles).astype(np.float32)
    if not high > low:
        raise DataError(f"no contrast inside the brain: percentiles {percentiles} are both {low:g}", case=case)
    scaled: NDArray[np.float32] = (np.clip(image, low, high) - low) / (high - low)
    return scaled


def curvature_flow(
    image: NDArray[np.float32], spacing: tuple[float, float, float], steps: int, time_step: float
) -> NDArray[np.float32]:
    """Return ITK's curvature flow smoothing of ``[X, Y, Z]`` (Sethian; derivatives per mm).

    A step looks one voxel far, so zeros more than ``steps`` voxels from all else stay zeros: only the box of the rest is
    smoothed, which gives the same bits in less time.
    """
    import itk  # takes seconds to load and only this step needs it

    box = _box_of_others(image, margin=steps + 1)
    picture = itk.image_from_array(np.ascontiguousarray(image[box].transpose(2, 1, 0)))
    picture.SetSpacing(spacing)
    flow = itk.curvature_flow_image_filter(picture, number_of_iterations=steps, time_step=time_step)
    smoothed = np.zeros_like(image)
    smoothed[box] = itk.array_from_image(flow).transpose(2, 1, 0)
    return smoothed


def _box_of_others(image: NDArray[np.float32], margin: int) -> tuple[slice, ...]:
    """Return the box of all voxels that are not 0, ``margin`` wider where there is room; all of an empty image."""
    other = image != 0
    box = []
    for axis in range(image.ndim):
        places = np.flatnonzero(other.any(axis=tuple(a for a in range(image.ndim) if a != axis)))
        if not len(places):
            return (slice(None),) * image.ndim
        box.append(slice(max(int(places[0]) - margin, 0), int(places[-1]) + margin + 1))
    return tuple(box)


def _needs_halving(image: Volume, how: Preparation, case: str) -> bool:
    for spacing, halve in ((how.spacing_mm, False), (how.spacing_mm / 2, True)):
        if np.allclose(image.spacing, spacing, rtol=_SPACING_TOLERANCE, atol=0):
            return halve
    found = " x ".join(f"{s:.3g}" for s in image.spacing)
    raise DataError(
        f"the spacing is {found} mm, expected {how.spacing_mm / 2:g} or {how.spacing_mm:g} mm in all axes: the scan "
        "was not registered to the atlas grid, so its brain would have another size than those in training. "
        "Register it (SRI24, 1 mm) first",
        case=case,
    )


def _lost_lesion(seg: Volume, lesion: NDArray[np.uint8], spacing_mm: float) -> list[str]:
    before = float(seg.array.sum()) * float(np.prod(seg.spacing)) / 1000
    after = float(lesion.sum()) * spacing_mm**3 / 1000
    if before == 0:
        return ["the ground truth is empty"]
    if after == 0:
        return [f"the ground truth ({before:.3g} ml) is empty on the working grid: Dice is not defined for this case"]
    if after < before / 2:
        return [f"the ground truth shrinks from {before:.3g} to {after:.3g} ml on the working grid"]
    return []
