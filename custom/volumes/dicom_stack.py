# SPDX-License-Identifier: Apache-2.0
"""Slices with their places in the world become one volume, or a sentence says why they are none."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from .itk_images import LPS_TO_RAS
from .limits import check_spacing
from .scan import Note, Scan
from .scanner import scanner_of_dicom
from .stored_file import name_of

MAX_SPACING_DEVIATION = 0.01
_SAME_PLACE_MM = 1e-3
_MAX_TILT = 1e-3
_TELLING = {
    "0018|0081": "EchoTime",
    "0020|0100": "TemporalPositionIdentifier",
    "0018|9087": "DiffusionBValue",
    "0018|0080": "RepetitionTime",
    "0018|0082": "InversionTime",
    "0020|0012": "AcquisitionNumber",
    "0008|0008": "ImageType",
    "0008|0032": "AcquisitionTime",
}
_CONTRASTS = re.compile(r"flair|t1|t2", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Slice:
    """One image of a series.

    Attributes:
        path: its file.
        pixels: float32 ``[X, Y]``.
        position: of the middle of the first pixel (LPS, mm) ``[3]``.
        directions: unit vectors of X and Y (LPS) ``[6]``.
        tags: DICOM tags as text, ``"0020|0037"`` -> value.

    >>> directions = np.array([1.0, 0, 0, 0, 1, 0])
    >>> pixels, places = np.zeros((4, 4), np.float32), (2.0, 0.0)
    >>> slices = [Slice(Path(f"{z:g}mm.dcm"), pixels, np.array([0, 0, z]), directions, {}) for z in places]
    >>> ordered, step = in_order(slices, "T2 axial", "case1")
    >>> [one.path.name for one in ordered], step.tolist()
    (['0mm.dcm', '2mm.dcm'], [0.0, 0.0, 2.0])
    """

    path: Path
    pixels: NDArray[np.float32]
    position: NDArray[np.float64]
    directions: NDArray[np.float64]
    tags: dict[str, str]


def as_scan(
    slices: Sequence[Slice], step: NDArray[np.float64], notes: list[Note], files: tuple[str, ...], case: str
) -> Scan:
    """Return the scan of ordered slices; ``step`` is the way from one to the next (LPS, mm)."""
    array = np.stack([s.pixels for s in slices], axis=-1)
    tags = slices[0].tags
    if tags.get("0028|0004", "") == "MONOCHROME1":
        array = array - array.min()  # GDCM has turned them, around the largest value that the type can hold
        if np.median(array[[0, -1], :]) >= 0.99 * array.max():
            what = (
                f"{name_of(slices[0].path)} is MONOCHROME1 (dark means much), and yet its background is the dark part"
            )
            raise DataError.of("bad-scaling", what, case)
        notes = [*notes, Note("dicom-note", "MONOCHROME1 (dark means much): intensities were turned round")]
    spacing = [float(v) for v in tags["0028|0030"].split("\\")]
    affine = np.eye(4)
    affine[:3, 0] = slices[0].directions[:3] * spacing[1]
    affine[:3, 1] = slices[0].directions[3:] * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = slices[0].position
    affine = LPS_TO_RAS @ affine
    check_spacing(affine, slices[0].path.parent.name, case)
    words = {found.lower() for found in _CONTRASTS.findall(tags.get("0008|103e", ""))}
    contrast = "flair" if "flair" in words else words.pop() if len(words) == 1 else ""
    scanner = scanner_of_dicom(tags)
    return Scan(np.ascontiguousarray(array), affine, "dicom", tuple(notes), files, contrast=contrast, scanner=scanner)


def in_order(slices: Sequence[Slice], name: str, case: str) -> tuple[list[Slice], NDArray[np.float64]]:
    """Return the slices from one end to the other and the step between them (LPS, mm).

    Raises:
        DataError: several volumes or orientations, slices missing, doubled, irregular or shifted sideways.
    """
    if len(slices) < 2:
        raise DataError.of("not-3d", f"the DICOM series {name} has one slice", case)
    directions = np.array([s.directions for s in slices])
    if np.abs(directions - directions[0]).max() > _MAX_TILT:
        raise DataError.of("dicom-several", f"the DICOM series {name} holds images of several orientations", case)
    normal = np.cross(directions[0, :3], directions[0, 3:])
    places = np.array([s.position for s in slices]) @ normal
    order = np.argsort(places, kind="stable")
    distinct = 1 + int((np.diff(places[order]) > _SAME_PLACE_MM).sum())
    if distinct < len(slices):
        raise _several_volumes([slices[i] for i in order], distinct, name, case)
    ordered = [slices[i] for i in order]
    steps = np.diff(places[order])
    middle = float(np.median(steps))
    worst = int(np.argmax(np.abs(steps - middle)))
    if abs(steps[worst] - middle) > MAX_SPACING_DEVIATION * middle:
        raise DataError.of(
            "dicom-slices",
            f"slices {worst + 1} and {worst + 2} of the DICOM series {name} are {steps[worst]:.3g} mm apart, the others "
            f"{middle:.3g} mm",
            case,
        )
    step = (ordered[-1].position - ordered[0].position) / (len(ordered) - 1)
    if np.linalg.norm(step - normal * middle) > 0.05 * middle:
        raise DataError.of("dicom-geometry", f"the slices of {name} are shifted sideways against each other", case)
    return ordered, step


def _several_volumes(ordered: Sequence[Slice], distinct: int, name: str, case: str) -> DataError:
    if len(ordered) % distinct:
        return DataError.of(
            "dicom-slices",
            f"the DICOM series {name} has {len(ordered)} slices at {distinct} places: some are doubled",
            case,
        )
    count = len(ordered) // distinct
    which = ""
    for tag, word in _TELLING.items():
        values = sorted({s.tags.get(tag, "") for s in ordered[:count]})
        if len(values) > 1:
            which = f" ({word} {', '.join(values[:6])})"
            break
    return DataError.of(
        "dicom-several", f"the DICOM series {name} holds {count} volumes of {distinct} slices{which}", case
    )
