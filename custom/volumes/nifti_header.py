# SPDX-License-Identifier: Apache-2.0
"""Judge a NIfTI header before anything is loaded; every fault becomes one sentence with a code.

nibabel repairs or accepts many broken headers silently (spacing 0 becomes 1 mm, a singular sform falls back to the
qform, trailing dimensions become channels). The raw header is therefore judged first. NIfTI-1 and NIfTI-2 single files in
either byte order. A file that does not state its unit of length (most do not) is read in mm, see :mod:`.limits`.
"""

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import aff2axcodes
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from ..core.errors import DataError
from .limits import check_size, check_spacing
from .resampling import affine_distance_mm
from .scan import Note

LONGEST_HEADER = 540
_FORM_TOLERANCE_MM = 1e-3
_SIZE_TOLERANCE, _SIZE_LIMIT = 0.01, 1.5
_THICK_SLICE_MM = 3.0
_MAX_HEADER_BYTES = 1 << 20
_OTHER_UNITS = {1: "metres", 3: "micrometres"}


@dataclass(frozen=True, eq=False)
class NiftiLayout:
    """Where the voxels lie in a file and what they mean.

    Attributes:
        shape: voxels ``[X, Y, Z]``.
        dtype: of the stored numbers, with their byte order.
        offset: of the first voxel, in bytes.
        slope, intercept: intensity = slope * stored number + intercept.
        affine: voxels to world (RAS, mm).
        notes: doubts about the header that do not forbid its use.
        header_bytes: length of the header.

    >>> file = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([1.0, 1, 2, 1])).to_bytes()
    >>> layout = read_layout(file, "scan.nii", "case1")
    >>> layout.shape, str(layout.dtype), layout.nbytes == len(file)
    ((4, 5, 6), 'int16', True)
    """

    shape: tuple[int, int, int]
    dtype: "np.dtype[Any]"
    offset: int
    slope: float
    intercept: float
    affine: NDArray[np.float64]
    notes: tuple[Note, ...]
    header_bytes: int

    @property
    def nbytes(self) -> int:
        """Bytes from the start of the file to the end of the voxels."""
        return self.offset + int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class _Judge:
    """One header under examination; every refusal names file and case."""

    def __init__(self, raw: bytes, name: str, case: str) -> None:
        self.name, self.case = name, case
        self.notes: list[Note] = []
        self.header, self.length = self._parsed(raw)

    def refusal(self, code: str, what: str) -> DataError:
        return DataError.of(code, f"{self.name}{what}", self.case)

    def _parsed(self, raw: bytes) -> tuple[Any, int]:
        orders = {int.from_bytes(raw[:4], "little"): "<", int.from_bytes(raw[:4], "big"): ">"}
        length = 348 if 348 in orders else 540
        if len(raw) < 348 or length not in orders or len(raw) < length:
            raise self.refusal("not-nifti", " is not a NIfTI file (no NIfTI header)")
        kind = nib.Nifti1Header if length == 348 else nib.Nifti2Header
        header = kind(raw[:length], endianness=orders[length], check=False)
        magic = bytes(np.asarray(header["magic"]).tobytes())[:3]
        if magic == b"ni1":
            raise self.refusal("not-nifti", " is half of a two-file NIfTI (.hdr/.img)")
        if magic != (b"n+1" if length == 348 else b"n+2"):
            raise self.refusal("not-nifti", f" is not a NIfTI file (magic {magic!r})")
        return header, length

    def shape(self) -> tuple[int, int, int]:
        ndim = int(self.header["dim"][0])
        if not 1 <= ndim <= 7:
            raise self.refusal("bad-dimensions", f": dim[0] is {ndim}, expected 3")
        dims = [int(n) for n in self.header["dim"][1 : ndim + 1]]
        if min(dims) < 1:
            raise self.refusal("bad-dimensions", f": dimensions {dims} must be positive")
        if any(n > 1 for n in dims[3:]):
            volumes = int(np.prod(dims[3:], dtype=object))
            raise self.refusal("not-3d", f" is {ndim}-D with {volumes} volumes {dims}")
        if len(dims) < 3 or min(dims[:3]) == 1:
            raise self.refusal("not-3d", f" is a 2-D image {dims}")
        check_size(dims[:3], self.name, self.case)
        if ndim > 3:
            self.notes.append(Note("trailing-dimensions", f"trailing dimensions of size 1 dropped from {dims}"))
        return dims[0], dims[1], dims[2]

    def dtype(self) -> "np.dtype[Any]":
        try:
            dtype: np.dtype[Any] = self.header.get_data_dtype()
        except (HeaderDataError, KeyError) as error:
            raise self.refusal("bad-datatype", f": unknown datatype code {int(self.header['datatype'])}") from error
        if dtype.kind not in "iuf" or dtype.itemsize == 0:
            kind = {"c": "complex", "V": "RGB or unknown"}.get(dtype.kind, str(dtype))
            raise self.refusal("not-real", f" holds {kind} voxels")
        return dtype

    def offset(self) -> int:
        offset = float(self.header["vox_offset"])
        if not self.length <= offset <= _MAX_HEADER_BYTES:
            raise self.refusal(
                "bad-header", f": vox_offset is {offset:g}, expected {self.length} to {_MAX_HEADER_BYTES} (bytes)"
            )
        return int(offset)

    def scaling(self) -> tuple[float, float]:
        slope, intercept = float(self.header["scl_slope"]), float(self.header["scl_inter"])
        if not np.isfinite(slope) or slope == 0:
            if np.isinf(slope) or (np.isnan(slope) and np.isfinite(intercept) and intercept != 0):
                raise self.refusal("bad-scaling", f": scl_slope is {slope}, scl_inter {intercept}: scaling unknown")
            if np.isnan(slope):
                self.notes.append(Note("scaling-assumed", "scl_slope is NaN: taken as 1"))
            return 1.0, 0.0
        if not np.isfinite(intercept):
            raise self.refusal("bad-scaling", f": scl_inter is {intercept}")
        return slope, intercept

    def affine(self) -> NDArray[np.float64]:
        pixdim = np.asarray(self.header["pixdim"], dtype=np.float64)
        if not np.all(np.isfinite(pixdim[1:4])) or np.any(pixdim[1:4] <= 0):
            what = f": pixdim (voxel size) is {pixdim[1:4].tolist()}, expected three positive numbers of mm"
            raise self.refusal("bad-spacing", what)
        unit = _OTHER_UNITS.get(int(self.header["xyzt_units"]) & 7)
        if unit:
            raise self.refusal("bad-spacing", f" states its lengths in {unit} (xyzt_units), expected mm")
        if pixdim[0] not in (-1, 1):
            self.header["pixdim"][0] = 1
        sform = self.header.get_sform() if int(self.header["sform_code"]) > 0 else None
        if sform is not None and not _regular(sform):
            raise self.refusal("bad-affine", f": {_singular('sform', sform)}")
        qform = self._qform(sform)
        if sform is not None and qform is not None:
            self._compare_forms(sform, qform)
        form = sform if sform is not None else qform
        if form is None:
            self.notes.append(
                Note(
                    "orientation-unknown",
                    "orientation unknown: sform and qform codes are 0, so left and right are not certain",
                )
            )
            form = self.header.get_base_affine()
        affine = np.asarray(form, dtype=np.float64)
        self._compare_sizes(affine, pixdim[1:4])
        check_spacing(affine, self.name, self.case)
        return affine

    def _qform(self, sform: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        if int(self.header["qform_code"]) <= 0:
            return None
        what = ""
        try:
            qform = np.asarray(self.header.get_qform(), dtype=np.float64)
            what = "" if _regular(qform) else _singular("qform", qform)
        except (HeaderDataError, ValueError, np.linalg.LinAlgError) as error:
            what = f"the qform is invalid ({error})"
        if not what:
            return qform
        if sform is None:
            raise self.refusal("bad-affine", f": {what}")
        self.notes.append(Note("qform-ignored", "invalid qform ignored, sform used"))
        return None

    def _compare_forms(self, sform: NDArray[np.float64], qform: NDArray[np.float64]) -> None:
        codes = ["".join(aff2axcodes(form)) for form in (sform, qform)]
        if codes[0] != codes[1]:
            raise self.refusal("forms-disagree", f": sform says orientation {codes[0]}, qform {codes[1]}")
        corners = affine_distance_mm(sform, qform, [int(n) for n in self.header["dim"][1:4]])
        if corners > _FORM_TOLERANCE_MM:
            self.notes.append(Note("forms-differ", f"sform and qform differ by {corners:.3g} mm: sform used"))

    def _compare_sizes(self, affine: NDArray[np.float64], pixdim: NDArray[np.float64]) -> None:
        """Voxel sizes stand twice in a header: a template's sform scales them a little, more is a contradiction."""
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        ratio = float(np.max(np.maximum(sizes / pixdim, pixdim / sizes)))
        if ratio < 1 + _SIZE_TOLERANCE:
            return
        stated, used = (" x ".join(f"{s:.3g}" for s in size) for size in (pixdim, sizes))
        what = f"pixdim says voxels of {stated} mm, the orientation matrix {used} mm"
        if ratio > _SIZE_LIMIT:
            raise self.refusal("bad-spacing", f": {what}")
        self.notes.append(Note("forms-differ", f"{what}: the matrix is used"))


def read_layout(raw: bytes, name: str, case: str) -> NiftiLayout:
    """Judge a header, the first :data:`LONGEST_HEADER` bytes of a file, and return where its voxels lie.

    Raises:
        DataError: the header cannot be used; file and case are named.
    """
    judge = _Judge(raw, name, case)
    shape = judge.shape()
    dtype = judge.dtype()
    affine = judge.affine()
    offset = judge.offset()
    slope, intercept = judge.scaling()
    thickest = float(np.linalg.norm(affine[:3, :3], axis=0).max())
    if thickest > _THICK_SLICE_MM:
        text = f"spacing {thickest:.2f} mm is coarser than {_THICK_SLICE_MM:g} mm: outside the training range"
        judge.notes.append(Note("spacing-unexpected", text))
    return NiftiLayout(shape, dtype, offset, slope, intercept, affine, tuple(judge.notes), judge.length)


def _regular(affine: NDArray[np.float64]) -> bool:
    if not np.all(np.isfinite(affine)):
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.all(lengths > 0)) and bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3)


def _singular(name: str, form: NDArray[np.float64]) -> str:
    return f"the {name} (voxel-to-world matrix) is singular or not finite: {np.round(form[:3], 3).tolist()}"
