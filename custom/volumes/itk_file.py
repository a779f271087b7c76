# SPDX-License-Identifier: Apache-2.0
"""NRRD and MetaImage by ITK; its LPS world becomes RAS, and what ITK does not compare is compared here.

ITK stops to read at the last voxel and looks at no checksum, so a flipped bit in compressed data gives other voxels.
The header is therefore judged before memory is taken, and the data are unpacked once more to their end.
"""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..core.digests import file_sha256
from ..core.errors import DataError
from .itk_images import affine_of
from .limits import check_size, check_spacing
from .scan import Note, Scan
from .stored_file import name_of

ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")
_MAX_HEADER_BYTES = 1 << 20
_BLOCK = 1 << 20
_RAW, _PACKED = ("raw", "false"), ("gzip", "gz", "true")
_NO_GEOMETRY = Note(
    "orientation-unknown", "the file states no position and orientation: left and right are not certain"
)


def read_itk_file(path: Path, case: str) -> Scan:
    """Return the scan of a NRRD or MetaImage file in its own order.

    Raises:
        DataError: unreadable, damaged, not one 3-D image of real numbers, without voxel size, or larger than memory.
    """
    import itk  # takes seconds to load

    name = name_of(path)
    fields, start = _header(path, case)
    reader = itk.NrrdImageIO.New() if path.name.lower().endswith((".nrrd", ".nhdr")) else itk.MetaImageIO.New()
    try:
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    except Exception as error:  # ITK raises RuntimeError, TypeError and its own kinds
        raise _unreadable(name, error, case) from error
    shape = tuple(int(reader.GetDimensions(axis)) for axis in range(reader.GetNumberOfDimensions()))
    if len(shape) != 3 or min(shape) < 2:
        raise DataError.of("not-3d", f"{name} has shape {shape}", case)
    if reader.GetNumberOfComponents() != 1:
        raise DataError.of("not-real", f"{name} has {reader.GetNumberOfComponents()} values per voxel", case)
    spacing = [float(reader.GetSpacing(axis)) for axis in range(3)]
    if not all(0 < size < math.inf for size in spacing):
        raise DataError.of(
            "bad-spacing", f"{name}: the voxel size is {spacing} mm, expected three positive numbers", case
        )
    check_size(shape, name, case)
    _check_data(path, fields, start, int(reader.GetImageSizeInBytes()), case)
    try:
        image = itk.imread(str(path), itk.F)
    except Exception as error:
        raise _unreadable(name, error, case) from error
    affine = affine_of(image)
    check_spacing(affine, name, case)
    array = np.asarray(itk.array_from_image(image), dtype=np.float32).transpose(2, 1, 0)
    notes = () if _states_geometry(fields, name, case) else (_NO_GEOMETRY,)
    return Scan(array, affine, "itk", notes, sha256=file_sha256(path))


def _unreadable(name: str, error: Exception, case: str) -> DataError:
    reason = " ".join(str(error).split())[-160:]
    return DataError.of("damaged", f"{name} cannot be read ({reason})", case)


def _header(path: Path, case: str) -> tuple[dict[str, str], int]:
    """Return the fields (lower case) and where the data begin in the same file."""
    with path.open("rb") as file:
        raw = file.read(_MAX_HEADER_BYTES)
    nrrd = path.name.lower().endswith((".nrrd", ".nhdr"))
    if nrrd and not raw.startswith(b"NRRD"):
        raise DataError.of("not-nifti", f"{name_of(path)} is no NRRD file", case)
    fields: dict[str, str] = {}
    position = 0
    while position < len(raw):
        end = raw.find(b"\n", position)
        line = raw[position : len(raw) if end < 0 else end].decode("latin-1").strip("\r")
        position = len(raw) if end < 0 else end + 1
        if nrrd and not line:
            return fields, position
        key, _, value = line.partition(":" if nrrd else "=")
        fields[key.strip().lower()] = value.lstrip("=").strip()
        if key.strip().lower() == "elementdatafile":
            return fields, position
    if nrrd and path.name.lower().endswith(".nhdr"):
        return fields, position
    raise DataError.of("bad-header", f"{name_of(path)} has no header that ends within {_MAX_HEADER_BYTES} bytes", case)


def _check_data(path: Path, fields: dict[str, str], start: int, wanted: int, case: str) -> None:
    """Raise a ``DataError`` unless the data have exactly ``wanted`` bytes and, if compressed, agree with their checksum."""
    name = name_of(path)
    detached = fields.get("data file") or fields.get("datafile") or fields.get("elementdatafile", "LOCAL")
    if detached.upper() != "LOCAL":
        data = path.parent / detached
        if Path(detached).name != detached or not data.is_file():
            what = f"{name} names the data file {detached!r}, which is no single file beside it"
            raise DataError.of("missing-file", what, case)
        start = 0
    else:
        data = path
    encoding = (fields.get("encoding") or fields.get("compresseddata", "false")).lower()
    if encoding not in _RAW + _PACKED:
        raise DataError.of("bad-header", f"{name} has the encoding {encoding!r}, expected raw or gzip", case)
    if any(int(fields.get(key) or 0) for key in ("byte skip", "byteskip", "line skip", "lineskip", "headersize")):
        return  # where the data begin is then for ITK to say; they are complete, or it raises
    if encoding in _RAW:
        found = data.stat().st_size - start
        what = f"has {found} bytes of voxels"
    else:
        found = _unpacked_size(data, start, wanted, name, case)
        what = f"unpacks to {'more than ' * (found > wanted)}{min(found, wanted)} bytes"
    if found != wanted:
        code = "damaged" if found < wanted else "surplus-bytes"
        raise DataError.of(code, f"{name} {what}, its header says {wanted}", case)


def _unpacked_size(data: Path, start: int, wanted: int, name: str, case: str) -> int:
    """Return how many bytes the compressed data hold, at most one more than ``wanted``; nothing may follow them."""
    unpacker: Any = zlib.decompressobj(47)  # gzip or zlib, by its first bytes
    found = 0
    with data.open("rb") as file:
        file.seek(start)
        block = file.read(_BLOCK)
        try:
            while block and not unpacker.eof and found <= wanted:
                found += len(unpacker.decompress(block, _BLOCK))
                block = unpacker.unconsumed_tail or (b"" if unpacker.eof else file.read(_BLOCK))
        except zlib.error as error:
            raise DataError.of("damaged", f"{name} is truncated or damaged ({error})", case) from error
        behind = unpacker.unused_data.strip(b"\0\n\r") or file.read(1)
    if found <= wanted and not unpacker.eof:
        raise DataError.of("damaged", f"{name} is truncated or damaged (the compressed data have no end)", case)
    if unpacker.eof and behind:
        raise DataError.of("surplus-bytes", f"{name} goes on behind its compressed data", case)
    return found


def _states_geometry(fields: dict[str, str], name: str, case: str) -> bool:
    spacing = ("space directions", "spacings", "elementspacing", "elementsize")
    if not any(fields.get(key) for key in spacing):
        raise DataError.of("bad-spacing", f"{name} does not state its voxel size", case)
    return bool(
        (fields.get("space directions") and (fields.get("space") or fields.get("space dimension")))
        or fields.get("transformmatrix")
        or fields.get("orientation")
        or fields.get("rotation")
    )
