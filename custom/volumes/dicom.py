# SPDX-License-Identifier: Apache-2.0
"""DICOM series by ITK (GDCM): every slice is read with its header, and nothing about the geometry is assumed.

ITK's own series reader takes 1 mm where no PixelSpacing is stated, squeezes missing and doubled slices into an even stack
and passes over files that it cannot read. Here each of these is a sentence. Files of other kinds in the folder are passed
over with a note. Enhanced (multi-frame) objects are in :mod:`.dicom_enhanced`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from .itk_io import LPS_TO_RAS
from .limits import MAX_VOXELS, check_size, check_spacing
from .scan import Note, Scan
from .stored_file import check_regular, name_of

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
    """One image of a series: pixels ``[X, Y]``, place in the LPS world (mm), and the tags as text."""

    path: Path
    pixels: NDArray[np.float32]
    position: NDArray[np.float64]
    directions: NDArray[np.float64]
    tags: dict[str, str]


def is_dicom_file(path: Path) -> bool:
    """Tell by the first bytes whether a file is DICOM, also one without preamble and file meta information."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError:
        return False
    if start[128:] == b"DICM":
        return True
    in_group_8 = start[:2] == b"\x08\x00" and len(start) == 132 and start[3:4] == b"\x00"
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return in_group_8 and (explicit or int.from_bytes(start[4:8], "little") <= 64)


def is_dicom_series(folder: Path) -> bool:
    """Tell whether a folder directly holds DICOM files, whatever else lies there."""
    return any(is_dicom_file(path) for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def read_dicom(path: Path, case: str, max_voxels: int = MAX_VOXELS) -> Scan:
    """Return the volume of a folder with one DICOM series, or of one multi-frame file.

    Raises:
        DataError: no series or several, several volumes in one, missing or contradictory geometry, unreadable files.
    """
    files, notes = _files(path, case)
    first = _header_of(files[0], case)
    if int(first.get("0028|0008") or 1) > 1:
        from .dicom_enhanced import read_enhanced

        if len(files) > 1:
            raise DataError.of("dicom-several", f"{path.name} holds {len(files)} multi-frame DICOM files", case)
        return read_enhanced(files[0], case, tuple(notes), max_voxels)
    shape = (int(first.get("0028|0011") or 0), int(first.get("0028|0010") or 0), len(files))
    check_size(shape, name_of(path), case, max_voxels)
    slices = [_slice(file, case) for file in files]
    _check_one_series(slices, path, case)
    ordered, step = in_order(slices, name_of(path), case)
    return as_scan(ordered, step, notes, tuple(str(s.path) for s in ordered), case)


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
    return Scan(np.ascontiguousarray(array), affine, "dicom", tuple(notes), files, contrast=contrast)


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


def _files(path: Path, case: str) -> tuple[list[Path], list[Note]]:
    if not path.is_dir():
        return [path], []
    visible = [p for p in sorted(path.iterdir()) if not p.name.startswith(".") and not p.is_dir()]
    files = [p for p in visible if is_dicom_file(p) and p.name.upper() != "DICOMDIR"]
    broken = next((p for p in visible if p.suffix.lower() in (".dcm", ".ima") and p not in files), None)
    if broken is not None:
        check_regular(broken, case)
        raise DataError.of("damaged", f"{name_of(broken)} is no DICOM file, or only its beginning", case)
    if not files:
        below = sorted({p.parent for p in path.rglob("*") if is_dicom_file(p)})[:3]
        where = f"; below it, {', '.join(str(p.relative_to(path)) for p in below)} hold some" if below else ""
        raise DataError.of("dicom-none", f"the folder {name_of(path)} itself holds no DICOM files{where}", case)
    others = [p for p in visible if p not in files and p.name.upper() != "DICOMDIR"]
    if not others:
        return files, []
    return files, [Note("dicom-note", f"{len(others)} files in the folder that are no DICOM were passed over")]


def _header_of(file: Path, case: str) -> dict[str, str]:
    import itk  # takes seconds to load

    reader = itk.GDCMImageIO.New(FileName=str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _cut_short(file, case) from error
    frames = int(reader.GetDimensions(2)) if reader.GetNumberOfDimensions() > 2 else 1
    return {
        "0028|0011": str(reader.GetDimensions(0)),
        "0028|0010": str(reader.GetDimensions(1)),
        "0028|0008": str(frames),
    }


def _slice(file: Path, case: str) -> Slice:
    import itk

    try:
        image = itk.imread(str(file), itk.F)
    except Exception as error:  # ITK raises RuntimeError, TypeError and its own kinds
        raise _cut_short(file, case) from error
    tags = {key: str(value).strip(" \0") for key, value in dict(image).items() if isinstance(value, str)}
    if tags.get("0028|0002", "1") != "1":
        raise DataError.of("not-real", f"{name_of(file)} holds colours", case)
    for tag, what in (
        ("0028|0030", "PixelSpacing (the size of its pixels)"),
        ("0020|0032", "ImagePositionPatient (the place of the slice)"),
        ("0020|0037", "ImageOrientationPatient (the directions of rows and columns)"),
    ):
        if not tags.get(tag):
            raise DataError.of("dicom-geometry", f"{name_of(file)} does not state {what}", case)
    pixels = np.asarray(itk.array_from_image(image), dtype=np.float32).reshape(
        int(tags["0028|0010"]), int(tags["0028|0011"])
    )
    position, directions = (np.array([float(v) for v in tags[t].split("\\")]) for t in ("0020|0032", "0020|0037"))
    return Slice(file, pixels.T, position, directions, tags)


def _cut_short(file: Path, case: str) -> DataError:
    return DataError.of("damaged", f"{name_of(file)} cannot be read as DICOM: it is cut short or damaged", case)


def _check_one_series(slices: Sequence[Slice], path: Path, case: str) -> None:
    series: dict[str, int] = {}
    for one in slices:
        series[one.tags.get("0020|000e", "")] = series.get(one.tags.get("0020|000e", ""), 0) + 1
    if len(series) > 1:
        sizes = ", ".join(str(count) for count in series.values())
        raise DataError.of(
            "dicom-several", f"the folder {name_of(path)} holds {len(series)} series (of {sizes} files)", case
        )
    shapes = {one.pixels.shape for one in slices}
    spacings = {one.tags["0028|0030"] for one in slices}
    if len(shapes) > 1 or len(spacings) > 1:
        raise DataError.of("dicom-several", f"the DICOM series {name_of(path)} holds images of several sizes", case)


def _several_volumes(ordered: Sequence[Slice], distinct: int, name: str, case: str) -> DataError:
    if len(ordered) % distinct:
        return DataError.of(
            "dicom-slices",
            f"the DICOM series {name} has {len(ordered)} slices at {distinct} places: some are doubled",
            case,
        )
    differing: dict[str, list[Any]] = {}
    for tag, word in _TELLING.items():
        values = sorted({s.tags.get(tag, "") for s in ordered[: len(ordered) // distinct]})
        if len(values) > 1:
            differing[word] = values
    word, values = next(iter(differing.items()), ("", []))
    which = f" ({word} {', '.join(values[:6])})" if word else ""
    count = len(ordered) // distinct
    return DataError.of(
        "dicom-several", f"the DICOM series {name} holds {count} volumes of {distinct} slices{which}", case
    )
