# SPDX-License-Identifier: Apache-2.0
"""Look at a NIfTI header before anything is loaded; every fault becomes one sentence.

nibabel repairs or accepts many broken headers silently (spacing 0 becomes 1 mm, a singular sform falls back to the
qform, trailing dimensions become channels). The raw header is therefore judged first. NIfTI-1 and NIfTI-2 single files,
plain or gzipped, in either byte order.
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.orientations import aff2axcodes
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from ..core.errors import DataError

DAMAGED = (OSError, EOFError, zlib.error)
_FORM_TOLERANCE_MM = 1e-3
_THICK_SLICE_MM = 3.0
_MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class NiftiLayout:
    """Where the voxels lie in the file and what they mean: 3-D shape, dtype, byte offset, scaling, affine (mm)."""

    shape: tuple[int, int, int]
    dtype: "np.dtype[Any]"
    offset: int
    slope: float
    intercept: float
    affine: NDArray[np.float64]
    notes: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes from the start of the file to the end of the voxels."""
        return self.offset + int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def open_nifti(path: Path, case: str) -> BinaryIO:
    """Open a plain or gzipped file for reading; name and content must agree."""
    try:
        with path.open("rb") as file:
            magic = file.read(2)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check path and permissions", case=case) from error
    if not magic:
        raise DataError(f"{path} is an empty file; copy or download it again", case=case)
    zipped = magic == b"\x1f\x8b"
    if zipped != path.name.endswith(".gz"):
        found, ending = ("is gzipped", ".nii.gz") if zipped else ("is not gzipped", ".nii")
        raise DataError(
            f"{path} {found}, which its name denies; if it is a NIfTI file rename it (*{ending})", case=case
        )
    return gzip.open(path, "rb") if zipped else path.open("rb")  # type: ignore[return-value]


def read_layout(file: BinaryIO, path: Path, case: str, max_voxels: int) -> tuple[NiftiLayout, bytes]:
    """Read and judge the header; return the layout and the bytes consumed."""
    try:
        raw = file.read(540)
    except DAMAGED as error:
        raise DataError(f"{path} is truncated or damaged ({error}); copy or download it again", case=case) from error
    header, is_nifti1 = _parse(raw, path, case)
    shape, notes = _shape(header, path, case, max_voxels)
    dtype = _dtype(header, path, case)
    affine, form_notes = _affine(header, path, case)
    offset = float(header["vox_offset"])
    if not (348 if is_nifti1 else 540) <= offset <= _MAX_HEADER_BYTES:
        raise DataError(f"{path}: vox_offset is {offset:g}, so the voxels cannot be found; save it again", case=case)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        if np.isinf(slope) or (np.isnan(slope) and np.isfinite(intercept) and intercept != 0):
            raise DataError(f"{path}: scl_slope is {slope}, scl_inter {intercept}: scaling unknown", case=case)
        notes += ("scl_slope is NaN: taken as 1",) * int(np.isnan(slope))
        slope, intercept = 1.0, 0.0
    elif not np.isfinite(intercept):
        raise DataError(f"{path}: scl_inter is {intercept}, so intensities are unknown; save it again", case=case)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.max() > _THICK_SLICE_MM:
        notes += (f"spacing {spacing.max():.2f} mm is coarser than {_THICK_SLICE_MM:g} mm: outside the training range",)
    return NiftiLayout(shape, dtype, int(offset), slope, intercept, affine, notes + form_notes), raw


def _parse(raw: bytes, path: Path, case: str) -> tuple[Any, bool]:
    size = raw[:4]
    orders = {int.from_bytes(size, "little"): "<", int.from_bytes(size, "big"): ">"}
    is_nifti1 = 348 in orders
    if len(raw) < 348 or not (is_nifti1 or (540 in orders and len(raw) == 540)):
        raise DataError(f"{path} is not a NIfTI file (no NIfTI header); convert the scan to .nii.gz", case=case)
    kind, length = (nib.Nifti1Header, 348) if is_nifti1 else (nib.Nifti2Header, 540)
    header = kind(raw[:length], endianness=orders[length], check=False)
    magic = bytes(np.asarray(header["magic"]).tobytes())[:3]
    if magic == b"ni1":
        raise DataError(f"{path} is half of a two-file NIfTI (.hdr/.img); convert it to one .nii.gz", case=case)
    if magic != (b"n+1" if is_nifti1 else b"n+2"):
        raise DataError(f"{path} is not a NIfTI file (magic {magic!r}); convert the scan to .nii.gz", case=case)
    return header, is_nifti1


def _shape(header: Any, path: Path, case: str, max_voxels: int) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    ndim = int(header["dim"][0])
    if not 1 <= ndim <= 7:
        raise DataError(f"{path}: dim[0] is {ndim}, expected 3; the header is damaged, write the file again", case=case)
    dims = [int(n) for n in header["dim"][1 : ndim + 1]]
    if min(dims) < 1:
        raise DataError(f"{path}: dimensions {dims} must be positive; the header is damaged", case=case)
    if any(n > 1 for n in dims[3:]):
        volumes = int(np.prod(dims[3:], dtype=object))
        raise DataError(
            f"{path} is {ndim}-D with {volumes} volumes {dims}; a structural scan has one. Extract the volume to be "
            "used into a 3-D file",
            case=case,
        )
    if len(dims) < 3 or min(dims[:3]) == 1:
        raise DataError(f"{path} is a 2-D image {dims}; the method scores brain volumes, give a 3-D scan", case=case)
    if int(np.prod(dims[:3], dtype=object)) > max_voxels:
        raise DataError(
            f"{path}: the header claims {dims[:3]} voxels, more than the limit of {max_voxels}; if the scan is really "
            "that large, raise max_voxels",
            case=case,
        )
    note = (f"trailing dimensions of size 1 dropped from {dims}",) if ndim > 3 else ()
    return (dims[0], dims[1], dims[2]), note


def _dtype(header: Any, path: Path, case: str) -> "np.dtype[Any]":
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        code = int(header["datatype"])
        raise DataError(f"{path}: unknown datatype code {code}; save it again", case=case) from error
    if dtype.kind not in "iuf" or dtype.itemsize == 0:
        kind = {"c": "complex", "V": "RGB or unknown"}.get(dtype.kind, str(dtype))
        raise DataError(
            f"{path} holds {kind} voxels; intensities must be one real number. Save the magnitude image", case=case
        )
    return dtype


def _affine(header: Any, path: Path, case: str) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    pixdim = np.asarray(header["pixdim"], dtype=np.float64)
    if not np.all(np.isfinite(pixdim[1:4])) or np.any(pixdim[1:4] <= 0):
        raise DataError(
            f"{path}: pixdim (voxel size) is {pixdim[1:4].tolist()}, expected three positive numbers of mm; without it "
            "volumes and distances would be wrong. Correct the header",
            case=case,
        )
    if pixdim[0] not in (-1, 1):
        header["pixdim"][0] = 1
    notes: tuple[str, ...] = ()
    sform = header.get_sform() if int(header["sform_code"]) > 0 else None
    qform = None
    if int(header["qform_code"]) > 0:
        try:
            qform = np.asarray(header.get_qform(), dtype=np.float64)
        except (HeaderDataError, ValueError, np.linalg.LinAlgError) as error:
            if sform is None:
                raise DataError(f"{path}: the qform is invalid ({error}); correct the header", case=case) from error
            notes += ("invalid qform ignored, sform used",)
    for name, form in (("sform", sform), ("qform", qform)):
        if form is not None and not _regular(form):
            if name == "qform" and sform is not None:
                notes, qform = (*notes, "invalid qform ignored, sform used"), None
                continue
            raise DataError(
                f"{path}: the {name} (voxel-to-world matrix) is singular or not finite, so position and orientation "
                f"are unknown: {np.round(form[:3], 3).tolist()}. Correct the header",
                case=case,
            )
    if sform is not None and qform is not None:
        if aff2axcodes(sform) != aff2axcodes(qform):
            raise DataError(
                f"{path}: sform says orientation {''.join(aff2axcodes(sform))}, qform {''.join(aff2axcodes(qform))}; "
                "left and right could be exchanged. Set one of the codes to 0 in the header",
                case=case,
            )
        corners = affine_distance_mm(sform, qform, [int(n) for n in header["dim"][1:4]])
        if corners > _FORM_TOLERANCE_MM:
            notes += (f"sform and qform differ by {corners:.3g} mm: sform used",)
    if sform is not None:
        return np.asarray(sform, dtype=np.float64), notes
    if qform is not None:
        return qform, notes
    return np.asarray(header.get_base_affine(), dtype=np.float64), (
        *notes,
        "orientation unknown: sform and qform codes are 0, so left and right are not certain",
    )


def _regular(affine: NDArray[np.float64]) -> bool:
    if not np.all(np.isfinite(affine)):
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.all(lengths > 0)) and bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3)


def affine_distance_mm(first: NDArray[np.float64], second: NDArray[np.float64], shape: list[int]) -> float:
    """Return the largest distance in mm between the eight corners of a grid under two voxel-to-world matrices."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[:3]], indexing="ij")).reshape(3, -1)
    shift = (first[:3, :3] - second[:3, :3]) @ corners + (first[:3, 3:] - second[:3, 3:])
    return float(np.linalg.norm(shift, axis=0).max())
