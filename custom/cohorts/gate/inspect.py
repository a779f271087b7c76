# SPDX-License-Identifier: Apache-2.0
"""Look at one NIfTI file, once: faults of bytes, header and voxels, and the few numbers that comparisons need.

The file is streamed: at most the bytes that its header announces are unpacked, the SHA-256 is taken on the way. The
result is small JSON, so it can be kept (:mod:`.cache`) and nothing has to be read twice.
"""

import base64
import hashlib
import io
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from ...core.errors import DataError
from ...volumes.nifti_header import NiftiLayout, open_nifti, read_layout
from ...volumes.volume_io import MAX_VOXELS
from .fingerprint import fingerprint

Kind = Literal["image", "label"]
_BLOCK = 1 << 20
_INTEGER_TOLERANCE = 1e-3
_SORTED = (  # texts of custom.volumes.nifti_header -> code; a text that matches none is "unreadable"
    (r"is an empty file", "empty-file"),
    (r"which its name denies", "wrong-ending"),
    (r"is truncated", "damaged"),
    (r"not a NIfTI file|two-file", "not-nifti"),
    (r"vox_offset", "bad-header"),
    (r"scl_slope is NaN", "scaling-assumed"),
    (r"scl_slope|scl_inter", "bad-scaling"),
    (r"trailing dimensions", "trailing-dimensions"),
    (r"dim\[0\]|dimensions", "bad-dimensions"),
    (r"-D with|2-D image", "not-3d"),
    (r"header claims", "too-large"),
    (r"datatype", "bad-datatype"),
    (r"holds .* voxels", "not-real"),
    (r"pixdim", "bad-spacing"),
    (r"says orientation", "forms-disagree"),
    (r"sform and qform differ", "forms-differ"),
    (r"invalid qform ignored", "qform-ignored"),
    (r"orientation unknown", "orientation-unknown"),
    (r"singular|qform is invalid", "bad-affine"),
    (r"coarser than", ""),  # the spacing is judged by itself
)


@dataclass(frozen=True)
class FileReport:
    """What is known about one file.

    Attributes:
        faults: pairs of code and text.
        sha256: of the stored bytes.
        shape: voxels in RAS axes; empty if the header cannot be used, and then so is all below.
        affine: 4x4 in RAS axes, mm.
        nonzero: share of voxels that are not 0.
        box: first and last index of voxels that are not 0 along each axis, empty if there are none.
        voxels: SHA-256 of shape and intensities; empty for labels.
        print: coarse picture, see :mod:`.fingerprint`; empty for labels.
    """

    faults: tuple[tuple[str, str], ...]
    sha256: str = ""
    shape: tuple[int, ...] = ()
    affine: tuple[tuple[float, ...], ...] = ()
    nonzero: float = 0.0
    box: tuple[tuple[int, int], ...] = ()
    voxels: str = ""
    print: str = ""

    @property
    def usable(self) -> bool:
        """Tell whether header and voxels could be read."""
        return bool(self.shape)

    @classmethod
    def from_json(cls, value: Any) -> "FileReport":
        """Return the report stored as JSON; a damaged one raises KeyError, TypeError or ValueError."""
        report = cls(
            tuple((str(code), str(text)) for code, text in value["faults"]),
            str(value["sha256"]),
            tuple(int(n) for n in value["shape"]),
            tuple(tuple(float(v) for v in row) for row in value["affine"]),
            float(value["nonzero"]),
            tuple((int(low), int(high)) for low, high in value["box"]),
            str(value["voxels"]),
            str(value["print"]),
        )
        base64.b64decode(report.print, validate=True)
        if len(report.shape) not in (0, 3) or len(report.box) not in (0, 3):
            raise ValueError("shape and box have 3 axes")
        if report.shape and np.asarray(report.affine).shape != (4, 4):
            raise ValueError("the affine is 4x4")
        return report


@dataclass
class _Bytes:
    """A file that is unpacked step by step while its SHA-256 is taken."""

    path: Path
    zipped: bool
    unpacked: bytearray = field(default_factory=bytearray)
    surplus: bool = False
    damage: str = ""

    def __post_init__(self) -> None:
        self._file = self.path.open("rb")
        self._digest = hashlib.sha256()
        self._member: Any = zlib.decompressobj(31) if self.zipped else None
        self._waiting = b""

    def read_to(self, size: int) -> None:
        """Unpack until ``size`` bytes are there or the file ends."""
        while not self.damage and len(self.unpacked) < size and (self._waiting or self._next_block()):
            self._unpack(size - len(self.unpacked))

    def broken_before(self, size: int) -> bool:
        """Tell whether compressed data broke or ended in the middle before ``size`` bytes."""
        return bool(self.damage) or (self.zipped and len(self.unpacked) < size and not self._member.eof)

    def finish(self) -> str:
        """Notice bytes beyond those wanted and a wrong checksum; return the SHA-256 of the whole file."""
        wanted = len(self.unpacked)
        while not self.damage and not self.surplus and (self._waiting or self._next_block()):
            self._unpack(1)
            self.surplus = len(self.unpacked) > wanted
        del self.unpacked[wanted:]
        if self.zipped and not self.damage and not self.surplus and not self._member.eof:
            self.damage = "the end of the compressed data is missing"
        while self._next_block():
            pass
        self._file.close()
        return self._digest.hexdigest()

    def _next_block(self) -> bool:
        self._waiting = self._file.read(_BLOCK)
        self._digest.update(self._waiting)
        return bool(self._waiting)

    def _unpack(self, limit: int) -> None:
        if not self.zipped:
            self.unpacked += self._waiting[:limit]
            self._waiting = self._waiting[limit:]
            return
        if self._member.eof:
            if not self._waiting.startswith(b"\x1f\x8b"):
                self._waiting = b""  # padding behind the last member
                return
            self._member = zlib.decompressobj(31)
        try:
            self.unpacked += self._member.decompress(self._waiting, limit)
            self._waiting = self._member.unconsumed_tail or self._member.unused_data
        except zlib.error as error:
            self.damage, self._waiting = str(error), b""


def inspect_file(path: Path, kind: Kind, max_voxels: int = MAX_VOXELS) -> FileReport:
    """Return what is wrong with a file and what it holds; never raises for a bad file."""
    try:
        open_nifti(path, "").close()
        source = _Bytes(path, path.name.endswith(".gz"))
        source.read_to(540)
        if source.broken_before(348):
            digest = source.finish()
            return FileReport((("damaged", f"the header cannot be unpacked: {source.damage}"),), digest)
        layout, _ = read_layout(io.BytesIO(bytes(source.unpacked)), path, "", max_voxels)
        source.read_to(layout.nbytes)
        digest = source.finish()
    except DataError as error:
        text = _without_path(str(error), path)
        return FileReport(((code_of(text), _what(text)),))
    except OSError as error:
        return FileReport((("unreadable", str(error.strerror or error)),))
    if source.damage or len(source.unpacked) < layout.nbytes:
        reason = source.damage or "the file ends"
        text = f"{len(source.unpacked)} of {layout.nbytes} bytes can be read: {reason}"
        return FileReport((("damaged", text),), digest)
    faults = [(code, note) for note in layout.notes if (code := code_of(note))]
    if source.surplus:
        faults.append(("surplus-bytes", f"the file goes on behind the {layout.nbytes} bytes of its header"))
    return _report(layout, source.unpacked, kind, faults, digest)


def code_of(text: str) -> str:
    """Return the code of a text of :mod:`custom.volumes.nifti_header`.

    >>> code_of("pixdim (voxel size) is [0.0, 2.0, 2.0]"), code_of("something new")
    ('bad-spacing', 'unreadable')
    """
    return next((code for pattern, code in _SORTED if re.search(pattern, text)), "unreadable")


def _report(layout: NiftiLayout, raw: bytearray, kind: Kind, faults: list[tuple[str, str]], digest: str) -> FileReport:
    stored = np.ndarray(layout.shape, layout.dtype, buffer=raw, offset=layout.offset, order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = stored if (layout.slope, layout.intercept) == (1, 0) else stored * layout.slope + layout.intercept
        voxels: NDArray[np.float32] = np.asarray(scaled, dtype=np.float32, order="F")
        finite = bool(np.isfinite(voxels.sum(dtype=np.float64)))
    if not finite:
        for name, code, bad in (
            ("NaN", "nan-voxels", np.isnan(voxels)),
            ("infinite", "infinite-voxels", np.isinf(voxels)),
        ):
            if count := int(bad.sum()):
                first = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
                faults.append((code, f"{count} {name} voxels, the first at index {first}"))
        voxels = np.nan_to_num(voxels, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(voxels.min()), float(voxels.max())
    if kind == "image" and low == high:
        faults.append(("no-signal", f"every voxel is {low:g}"))
    if kind == "label":
        faults += _label_faults(voxels, low, high, exact=scaled.dtype.kind in "iu")
    orientation = io_orientation(layout.affine)
    affine = layout.affine @ inv_ornt_aff(orientation, layout.shape)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not any(np.allclose(spacing, wanted, rtol=0.01, atol=0) for wanted in (1.0, 2.0)):
        found = " x ".join(f"{s:.3g}" for s in spacing)
        faults.append(("spacing-unexpected", f"the spacing is {found} mm, expected 1 or 2 mm in all axes"))
    ras = apply_orientation(voxels, orientation)
    occupied = ras != 0
    box = _box(occupied)
    is_image = kind == "image"
    return FileReport(
        tuple(faults),
        digest,
        tuple(ras.shape),
        tuple(tuple(float(v) for v in row) for row in affine),
        float(occupied.mean()),
        box,
        _content_digest(voxels) if is_image else "",
        fingerprint(ras, occupied, box) if is_image and box else "",
    )


def _label_faults(voxels: NDArray[np.float32], low: float, high: float, exact: bool) -> list[tuple[str, str]]:
    fractional = None if exact else np.abs(voxels - np.rint(voxels)) > _INTEGER_TOLERANCE
    if fractional is not None and fractional.any():
        return [("label-values", f"values such as {float(voxels[fractional].flat[0]):.3g}, not whole labels from 0 up")]
    if low < -_INTEGER_TOLERANCE:
        return [("label-values", f"values down to {low:g}, not whole labels from 0 up")]
    if high > 1 and (present := np.unique(np.rint(voxels))).size > 2:
        return [("label-merged", f"labels {', '.join(f'{v:g}' for v in present[:10])}")]
    return []


def _content_digest(voxels: NDArray[np.float32]) -> str:
    digest = hashlib.sha256(repr(voxels.shape).encode())
    digest.update(np.ascontiguousarray(voxels.T).data)  # no copy: they are stored in this order
    return digest.hexdigest()


def _box(occupied: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    lines = [np.flatnonzero(occupied.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return tuple((int(line[0]), int(line[-1])) for line in lines) if all(line.size for line in lines) else ()


def _without_path(text: str, path: Path) -> str:
    return text.replace(str(path), "").lstrip(": ")


def _what(text: str) -> str:
    """Return the finding of a message without its remedy (behind ';')."""
    return text.split("; ")[0].split(". ")[0]
