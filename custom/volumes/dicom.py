# SPDX-License-Identifier: Apache-2.0
"""DICOM series by ITK (GDCM): every slice is read with its header, and nothing about the geometry is assumed.

ITK's own series reader takes 1 mm where no PixelSpacing is stated, squeezes missing and doubled slices into an even stack
and passes over files that it cannot read. Here each of these is a sentence. Files of other kinds in the folder are passed
over with a note. Enhanced (multi-frame) objects are in :mod:`.dicom_enhanced`.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core.errors import DataError
from .dicom_enhanced import read_enhanced
from .dicom_stack import Slice, as_scan, in_order
from .limits import check_size
from .scan import Note, Scan
from .stored_file import check_regular, name_of


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


def read_dicom(path: Path, case: str) -> Scan:
    """Return the volume of a folder with one DICOM series, or of one multi-frame file.

    Raises:
        DataError: no series or several, several volumes in one, missing or contradictory geometry, unreadable files.
    """
    files, notes = _files(path, case)
    columns, rows, frames = _size_of(files[0], case)
    if frames > 1:
        if len(files) > 1:
            raise DataError.of("dicom-several", f"{path.name} holds {len(files)} multi-frame DICOM files", case)
        return read_enhanced(files[0], case, notes)
    check_size((columns, rows, len(files)), name_of(path), case)
    slices = [_slice(file, case) for file in files]
    _check_one_series(slices, path, case)
    ordered, step = in_order(slices, name_of(path), case)
    return as_scan(ordered, step, notes, tuple(str(s.path) for s in ordered), case)


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


def _size_of(file: Path, case: str) -> tuple[int, int, int]:
    """Return columns, rows and frames of an image, from its header."""
    import itk  # takes seconds to load

    reader = itk.GDCMImageIO.New(FileName=str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _cut_short(file, case) from error
    frames = int(reader.GetDimensions(2)) if reader.GetNumberOfDimensions() > 2 else 1
    return int(reader.GetDimensions(0)), int(reader.GetDimensions(1)), frames


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
    series = Counter(one.tags.get("0020|000e", "") for one in slices)
    if len(series) > 1:
        sizes = ", ".join(str(count) for count in series.values())
        raise DataError.of(
            "dicom-several", f"the folder {name_of(path)} holds {len(series)} series (of {sizes} files)", case
        )
    shapes = {one.pixels.shape for one in slices}
    spacings = {one.tags["0028|0030"] for one in slices}
    if len(shapes) > 1 or len(spacings) > 1:
        raise DataError.of("dicom-several", f"the DICOM series {name_of(path)} holds images of several sizes", case)
