# SPDX-License-Identifier: Apache-2.0
"""Read a NIfTI file: header judged, voxels scaled, stream read to its end; nothing is reoriented or resampled."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from .nifti_header import LONGEST_HEADER, NiftiLayout, read_layout
from .scan import Scan
from .stored_file import StoredFile, name_of

ENDINGS = (".nii", ".nii.gz")


def is_nifti(path: Path) -> bool:
    """Tell by the name whether a file is NIfTI; upper and lower case are the same."""
    return path.name.lower().endswith(ENDINGS)


def read_nifti(path: Path, case: str) -> Scan:
    """Return the scan of a NIfTI file, whatever its voxels hold.

    Raises:
        DataError: the file is not what its name says, its header cannot be used, or its bytes are too few, too many or
            damaged.
    """
    name = name_of(path)
    with StoredFile(path, case) as file:
        if file.zipped != path.name.lower().endswith(".gz"):
            found, ending = ("is gzipped", ".nii.gz") if file.zipped else ("is not gzipped", ".nii")
            what = f"{name} {found}, which its name denies; if it is a NIfTI file it should be called *{ending}"
            raise DataError.of("wrong-ending", what, case)
        raw = file.read(LONGEST_HEADER)
        if len(raw) < LONGEST_HEADER:
            file.finish()  # a stream that is cut short says so
        layout = read_layout(bytes(raw), name, case)
        raw += file.read(max(0, layout.nbytes - len(raw)))
        if len(raw) < layout.nbytes:
            raise DataError.of("damaged", f"{name} is truncated: {len(raw)} of {layout.nbytes} bytes", case)
        if len(raw) > layout.nbytes:
            raise DataError.of("surplus-bytes", f"{name} goes on behind its last voxel", case)
        sha256 = file.finish()
    header = bytes(raw[: layout.header_bytes])
    return Scan(_scaled(layout, raw), layout.affine, "nifti", layout.notes, header=header, sha256=sha256)


def _scaled(layout: NiftiLayout, raw: bytearray) -> NDArray[np.float32]:
    stored = np.ndarray(layout.shape, layout.dtype, buffer=raw, offset=layout.offset, order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        if layout.slope == 1 and layout.intercept == 0:
            return stored.astype(np.float32)
        return (stored * np.float64(layout.slope) + layout.intercept).astype(np.float32)
