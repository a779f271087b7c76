# SPDX-License-Identifier: Apache-2.0
"""What the readers return: a scan in the voxel order of its file, and a label on the grid of its scan."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Note(NamedTuple):
    """Something that a reader of the report should know about a file, with its key in ``custom.core.codes.CODES``.

    >>> from custom.core.codes import CODES
    >>> note = Note("scaling-assumed", "scl_slope is NaN: taken as 1")
    >>> note.code in CODES
    True
    """

    code: str
    text: str


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan as its file stores it.

    Attributes:
        array: float32 ``[X, Y, Z]`` in the order of the file; ``[X, Y, 1]`` for a two-dimensional picture.
        affine: voxels to world (RAS, mm).
        kind: "nifti", "itk", "dicom", "picture" or "array" (in memory, :mod:`custom.volumes.memory`).
        notes: doubts about the file that do not forbid its use.
        files: source files of a DICOM series in the order of the slices.
        header: the bytes of a NIfTI header; empty for other kinds.
        sha256: of the stored bytes of one file; empty for a DICOM series.
        contrast: what the file itself says about the contrast (a DICOM series description), or "".
        scanner: what the file itself says about the scanner (DICOM), or "".

    >>> Scan(np.zeros((4, 4, 4), np.float32), np.diag([1.0, 1.0, 2.0, 1.0]), "array").spacing_mm
    (1.0, 1.0, 2.0)
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    kind: str
    notes: tuple[Note, ...] = ()
    files: tuple[str, ...] = ()
    header: bytes = b""
    sha256: str = ""
    contrast: str = ""
    scanner: str = ""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along the array axes."""
        x, y, z = (float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def note_texts(self) -> tuple[str, ...]:
        """The notes as sentences."""
        return tuple(note.text for note in self.notes)


@dataclass(frozen=True, eq=False)
class Label:
    """A brain mask or segmentation on the grid of its scan.

    Attributes:
        array: uint8, 0 or 1, in the voxel order of the scan.
        notes: what a reader of the report should know about the file.

    >>> Label(np.ones((4, 4, 4), np.uint8), notes=("labels of the seg up to 4 merged into one",)).array.dtype
    dtype('uint8')
    """

    array: NDArray[np.uint8]
    notes: tuple[str, ...] = ()
