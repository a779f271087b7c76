# SPDX-License-Identifier: Apache-2.0
"""Look at one file, once, through the reader that a run uses: its faults, and the few numbers that comparisons need.

The result is small JSON, so it can be kept (:mod:`.cache`) and nothing has to be read twice.
"""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError
from ...preparation.brain import background_of
from ...volumes.read import read_stored
from ...volumes.resampling import to_closest_ras
from ...volumes.scan import Scan
from ...volumes.voxels import label_faults, scan_faults
from .fingerprint import fingerprint

Kind = Literal["image", "label"]


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

    >>> FileReport(faults=(("empty-file", "it is empty"),)).usable
    False
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


def inspect_file(path: Path, kind: Kind) -> FileReport:
    """Return what is wrong with a file and what it holds; never raises for a bad file."""
    try:
        scan = read_stored(path, "")
    except DataError as error:
        return FileReport(((error.code or "unreadable", error.what),))
    except OSError as error:
        return FileReport((("unreadable", str(error.strerror or error)),))
    return _report(scan, kind)


def _report(scan: Scan, kind: Kind) -> FileReport:
    is_image = kind == "image"
    faults = [(code, text) for code, text in scan.notes if code != "spacing-unexpected"]
    faults += list(scan_faults(scan.array) if is_image else label_faults(scan.array))
    if not any(np.allclose(scan.spacing_mm, wanted, rtol=0.01, atol=0) for wanted in (1.0, 2.0)):
        found = " x ".join(f"{s:.3g}" for s in scan.spacing_mm)
        faults.append(("spacing-unexpected", f"the spacing is {found} mm, expected 1 or 2 mm in all axes"))
    voxels = np.nan_to_num(scan.array, nan=0.0, posinf=0.0, neginf=0.0)
    ras, affine = to_closest_ras(voxels, scan.affine)
    background = background_of(ras) if is_image else None
    occupied = ras != np.float32(background or 0.0)
    box = _box(occupied)
    return FileReport(
        tuple(faults),
        scan.sha256,
        tuple(ras.shape),
        tuple(tuple(float(v) for v in row) for row in affine),
        float(occupied.mean()),
        box,
        _content_digest(voxels) if is_image else "",
        fingerprint(ras, occupied, box) if is_image and box else "",
    )


def _content_digest(voxels: NDArray[np.float32]) -> str:
    digest = hashlib.sha256(repr(voxels.shape).encode())
    digest.update(np.ascontiguousarray(voxels.T).data)  # no copy: they are stored in this order
    return digest.hexdigest()


def _box(occupied: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    lines = [np.flatnonzero(occupied.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return tuple((int(line[0]), int(line[-1])) for line in lines) if all(line.size for line in lines) else ()
