# SPDX-License-Identifier: Apache-2.0
import gzip
import hashlib
import os
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from custom.core.codes import CODES
from custom.core.errors import DataError
from custom.volumes import limits
from custom.volumes.nifti import read_nifti
from custom.volumes.read import read_label, read_scan
from custom.volumes.resampling import to_closest_ras
from custom.volumes.scan import Scan
from custom.volumes.stored_file import StoredFile

pytestmark = [
    pytest.mark.fault(
        1,
        "a NaN voxel",
        "error with count and first index; on request (`--repair nan=0`) set to 0 outside the brain mask, recorded, the original kept",
        "foreseen",
    ),
    pytest.mark.fault(2, "an infinite voxel", "as 1", "foreseen"),
    pytest.mark.fault(
        4,
        "4-D series instead of one volume",
        "error with the number of volumes; trailing axes of length 1 are dropped with a note. No switch to choose a volume: it would stand in one command and be missing in the next; a 3-D file says it for all",
        "foreseen",
    ),
    pytest.mark.fault(5, "2-D picture", "error", "foreseen"),
    pytest.mark.fault(6, "constant scan", 'error "no signal"', "foreseen"),
    pytest.mark.fault(7, "voxel size 0 or NaN", "error that names the field", "foreseen"),
    pytest.mark.fault(
        8,
        "singular, zero or NaN sform",
        "error; no switch to use the qform, because then every other program would see the scan elsewhere: the header has to be mended",
        "foreseen",
    ),
    pytest.mark.fault(
        9,
        "qform and sform apart",
        "more than 1e-3 mm: warning, the sform is used; other orientation: error",
        "foreseen",
    ),
    pytest.mark.fault(
        10,
        "no orientation codes",
        "warning, note at the case; no option to assume one: left and right would be certain in words only",
        "foreseen",
    ),
    pytest.mark.fault(11, "oblique scan", "kept; there and back is tested", "foreseen"),
    pytest.mark.fault(
        14,
        "mask or lesion mask of another shape",
        "error with both shapes; no resampling on the fly, which would move the borders that are scored",
        "foreseen",
    ),
    pytest.mark.fault(15, "mask or lesion mask elsewhere", "error above 0.1 mm, float noise passes", "foreseen"),
    pytest.mark.fault(16, "empty brain mask", "error", "foreseen"),
    pytest.mark.fault(17, "mask of more than 90 % or less than 5 %", "warning", "foreseen"),
    pytest.mark.fault(
        18,
        "mask with several labels, soft mask",
        "labels are merged with a note; soft masks are refused unless a threshold is stated",
        "foreseen",
    ),
    pytest.mark.fault(19, "interpolated ground truth", "error, or a stated threshold", "foreseen"),
    pytest.mark.fault(20, "truncated file", "one line, exit code 4", "foreseen"),
    pytest.mark.fault(21, "empty file, text, wrong ending", "one line that proposes the name", "foreseen"),
    pytest.mark.fault(
        22,
        "absurd size in the header, gzip bomb",
        "refused before memory is taken; no more is unpacked than the header announces",
        "foreseen",
    ),
    pytest.mark.fault(23, "negative dimension, unknown datatype, bad magic", "one line", "foreseen"),
    pytest.mark.fault(24, "NaN as slope", "taken as 1 with a warning", "foreseen"),
    pytest.mark.fault(25, "complex or RGB voxels", "error", "foreseen"),
]

AFFINE = np.array([[2.0, 0, 0, -20], [0, 2, 0, -30], [0, 0, 2, -10], [0, 0, 0, 1]])
RNG = np.random.default_rng(0)
ARRAY = RNG.uniform(1, 100, (6, 7, 8)).astype(np.float32)
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SLOPE, INTER = 40, 70, 76, 108, 112, 116  # byte offsets in the NIfTI-1 header
QFORM_CODE, SFORM_CODE, QUATERN, SROW, XYZT_UNITS = 252, 254, 256, 280, 123


def write(path: Path, array: np.ndarray = ARRAY, affine: np.ndarray | None = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def patched(tmp_path: Path, offset: int, form: str, *values: float, array: np.ndarray = ARRAY) -> Path:
    """A file with some header bytes overwritten, as a broken converter would leave it."""
    raw = bytearray(write(tmp_path / "x.nii", array).read_bytes())
    struct.pack_into(form, raw, offset, *values)
    path = tmp_path / "patched.nii"
    path.write_bytes(raw)
    return path


def read_volume(path: Path, case: str) -> Scan:
    """A scan in RAS axes."""
    scan = read_scan(path, case)
    array, affine = to_closest_ras(scan.array, scan.affine)
    return Scan(array, affine, scan.kind, scan.notes)


def fails(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_volume(path, "case7")
    assert str(caught.value).startswith("case7: ")
    assert caught.value.case == "case7"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_equals_nibabel(tmp_path, ending, dtype):
    path = write(tmp_path / f"a{ending}", ARRAY.astype(dtype))
    volume = read_volume(path, "a")
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, nib.load(path).get_fdata(dtype=np.float32))
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert (volume.spacing_mm, volume.notes) == ((2.0, 2.0, 2.0), ())


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_both_formats_and_byte_orders(tmp_path, kind, endianness):
    image = kind(ARRAY.astype(np.int16), AFFINE, header=kind.header_class(endianness=endianness))
    image.header.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz", "a").array, ARRAY.astype(np.int16))


def test_scaling(tmp_path):
    path = patched(tmp_path, SLOPE, "<2f", 0.5, -3.0)
    np.testing.assert_allclose(read_volume(path, "a").array, ARRAY * 0.5 - 3, rtol=1e-6)
    volume = read_volume(patched(tmp_path, SLOPE, "<2f", np.nan, 0.0), "a")
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.note_texts == ("scl_slope is NaN: taken as 1",)
    fails(patched(tmp_path, SLOPE, "<2f", np.inf, 0.0), "scaling unknown")
    fails(patched(tmp_path, SLOPE, "<2f", 2.0, np.nan), "scl_inter is nan")


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SAL", "ILP"])
def test_every_orientation_comes_back_as_ras(tmp_path, codes):
    ornt = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    stored = nib.Nifti1Image(ARRAY, AFFINE).as_reoriented(ornt)
    np.testing.assert_allclose(stored.affine, AFFINE @ inv_ornt_aff(ornt, ARRAY.shape))
    nib.save(stored, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz", "a")
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, AFFINE)


def test_oblique_affine_is_kept(tmp_path):
    turn = np.deg2rad(15)
    oblique = AFFINE.copy()
    oblique[:2, :2] = 2 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    volume = read_volume(write(tmp_path / "a.nii", affine=oblique), "a")
    np.testing.assert_allclose(volume.affine, oblique, atol=1e-6)
    np.testing.assert_allclose(volume.spacing_mm, 2, rtol=1e-6)


def test_nan_and_infinity_are_counted_and_located(tmp_path):
    array = ARRAY.copy()
    array[2, 3, 4] = np.nan
    array[5, 6, 7] = np.inf
    fails(write(tmp_path / "a.nii.gz", array), r"has 1 NaN voxels, the first at index \(2, 3, 4\)")
    fails(write(tmp_path / "b.nii", np.full((4, 4, 4), 1e300)), "64 infinite voxels")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (RNG.uniform(size=(6, 7, 8, 5)), "4-D with 5 volumes"),
        (RNG.uniform(size=(6, 7, 8, 1, 3)), "5-D with 3 volumes"),
        (RNG.uniform(size=(6, 7)), "2-D image"),
        (RNG.uniform(size=(6, 7, 1)), "2-D image"),
        (RNG.uniform(size=(4, 4, 4)).astype(np.complex64), "complex voxels"),
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "RGB or unknown voxels"),
        (np.zeros((4, 4, 4), np.float32), "no signal: every voxel is 0"),
        (np.full((4, 4, 4), 7, np.int16), "no signal: every voxel is 7"),
    ],
)
def test_unusable_arrays(tmp_path, array, message):
    fails(write(tmp_path / "a.nii.gz", array), message)


def test_trailing_singleton_is_dropped_with_a_note(tmp_path):
    volume = read_volume(write(tmp_path / "a.nii.gz", ARRAY[..., None]), "a")
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert "size 1 dropped" in volume.note_texts[0]


@pytest.mark.parametrize(
    ("offset", "form", "values", "message"),
    [
        (PIXDIM + 4, "<f", (0.0,), r"pixdim \(voxel size\) is \[0\.0"),
        (PIXDIM + 8, "<f", (np.nan,), "pixdim .*nan"),
        (PIXDIM + 12, "<f", (-2.0,), "pixdim"),
        (SROW, "<4f", (0, 0, 0, 0), "sform .* singular or not finite"),
        (SROW + 16, "<4f", (2, 0, 0, 0), "sform .* singular"),
        (SROW, "<f", (np.nan,), "sform .* not finite"),
        (DIM, "<4h", (3, -6, 7, 8), "must be positive"),
        (DIM, "<h", (9,), r"dim\[0\] is 9"),
        (DIM, "<4h", (3, 2400, 2800, 2000), "more than the limit of 1073741824"),
        (DIM, "<4h", (3, 6, 7, 80), "truncated: 1696 of 13792 bytes"),
        (DATATYPE, "<h", (77,), "unknown datatype code 77"),
        (VOX_OFFSET, "<f", (0.0,), "vox_offset is 0"),
        (VOX_OFFSET, "<f", (1e12,), "vox_offset"),
        (344, "<3s", (b"ni1",), "two-file NIfTI"),
        (344, "<3s", (b"xyz",), "not a NIfTI file"),
        (0, "<i", (12,), "not a NIfTI file"),
    ],
)
def test_broken_headers(tmp_path, offset, form, values, message):
    fails(patched(tmp_path, offset, form, *values), message)


def test_no_scan_has_more_voxels_than_the_limit(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii")
    monkeypatch.setattr("custom.volumes.limits.MAX_VOXELS", 336)
    assert read_volume(path, "a").array.size == 336
    monkeypatch.setattr("custom.volumes.limits.MAX_VOXELS", 335)
    fails(path, "limit of 335")


def forms(tmp_path: Path, sform: np.ndarray | None, qform: np.ndarray | None) -> Path:
    image = nib.Nifti1Image(ARRAY, None)
    image.header.set_sform(sform, code=int(sform is not None))
    image.header.set_qform(qform, code=int(qform is not None))
    image.header.set_zooms((2, 2, 2))
    image.to_filename(tmp_path / "forms.nii")
    return tmp_path / "forms.nii"


def test_sform_and_qform(tmp_path):
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.25
    volume = read_volume(forms(tmp_path, AFFINE, shifted), "a")
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert volume.note_texts == ("sform and qform differ by 0.25 mm: sform used",)
    np.testing.assert_allclose(read_volume(forms(tmp_path, None, shifted), "a").affine, shifted, atol=1e-6)
    assert read_volume(forms(tmp_path, AFFINE, AFFINE), "a").notes == ()
    fails(forms(tmp_path, AFFINE, AFFINE @ np.diag([-1.0, 1, 1, 1])), "sform says orientation RAS, qform LAS")


def test_no_orientation_codes(tmp_path):
    assert "orientation unknown" in read_volume(forms(tmp_path, None, None), "a").note_texts[0]


def test_quaternion_that_is_none(tmp_path):
    path = forms(tmp_path, None, AFFINE)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<3f", raw, QUATERN, 5.0, 5.0, 5.0)
    path.write_bytes(raw)
    fails(path, "qform is invalid")
    struct.pack_into("<f", raw, QUATERN, np.nan)
    path.write_bytes(raw)
    fails(path, "qform")


def test_thick_slices_are_noted(tmp_path):
    volume = read_volume(write(tmp_path / "a.nii", affine=np.diag([1.0, 1, 5, 1])), "a")
    assert volume.note_texts == ("spacing 5.00 mm is coarser than 3 mm: outside the training range",)


def test_truncated_and_foreign_files(tmp_path):
    whole = write(tmp_path / "a.nii.gz", RNG.uniform(size=(20, 20, 20)).astype(np.float32)).read_bytes()
    path = tmp_path / "b.nii.gz"
    for cut in (0.9, 0.5, 0.01):
        path.write_bytes(whole[: int(len(whole) * cut)])
        fails(path, "truncated|not a NIfTI")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path.write_bytes(flipped)
    fails(path, "truncated or damaged")
    path.write_bytes(b"")
    fails(path, "empty file")
    path.write_text("this is not a scan")
    fails(path, r"is not gzipped, which its name denies.*\*\.nii")
    path.write_bytes(gzip.compress(b"<html>404</html>"))
    fails(path, "not a NIfTI file")
    (tmp_path / "c.nii").write_bytes(whole)
    fails(tmp_path / "c.nii", r"is gzipped.*\*\.nii\.gz")
    fails(tmp_path / "nowhere.nii", "No such file")
    (tmp_path / "d.nii").mkdir()
    fails(tmp_path / "d.nii", "no DICOM files")


def test_a_gzip_bomb_is_unpacked_to_the_size_of_its_header_only(tmp_path, monkeypatch):
    raw = write(tmp_path / "a.nii").read_bytes() + bytes(50_000_000)
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(raw, 1))
    unpacked = []
    original = StoredFile._unpacked
    monkeypatch.setattr(StoredFile, "_unpacked", lambda self, n: unpacked.append(original(self, n)) or unpacked[-1])
    fails(tmp_path / "bomb.nii.gz", "goes on behind its last voxel")
    assert sum(map(len, unpacked)) == len(raw) - 50_000_000 + 1


def gzipped(tmp_path: Path) -> bytes:
    return gzip.compress(write(tmp_path / "whole.nii", (ARRAY * 10).astype(np.int16)).read_bytes(), mtime=0)


@pytest.mark.fault(
    94,
    "a flipped bit, surplus or missing bytes in a compressed scan",
    "the stream is read to its end and its checksum compared: refused",
    "mended",
)
def test_every_flipped_bit_is_refused_or_harmless(tmp_path):
    """All bits of the gzip frame, and many places of the compressed data."""
    whole = gzipped(tmp_path)
    expected = read_nifti_array(tmp_path, whole)
    size = len(whole)
    rng = np.random.default_rng(0)
    places = {*range(10 * 8), *range((size - 8) * 8, size * 8), *rng.integers(0, size * 8, 600).tolist()}
    refused = 0
    for place in sorted(places):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        try:
            found = read_nifti_array(tmp_path, bytes(flipped))
        except DataError as error:
            refused += error.code in CODES
        else:
            np.testing.assert_array_equal(found, expected, err_msg=f"bit {place}")
    assert refused > 0.8 * len(places)


def read_nifti_array(tmp_path: Path, content: bytes) -> np.ndarray:
    (tmp_path / "t.nii.gz").write_bytes(content)
    return read_nifti(tmp_path / "t.nii.gz", "a").array


@pytest.mark.fault(94)
@pytest.mark.parametrize(
    ("behind", "message"),
    [
        (b"\0" * 512, ""),
        (gzip.compress(b""), ""),
        (b"garbage", "goes on behind the end of its compressed data"),
        (b"x", "goes on behind the end of its compressed data"),
        (b"\0\0x", "goes on behind the end of its compressed data"),
        (gzip.compress(b"\0"), "goes on behind its last voxel"),
        (gzip.compress(b"")[:-3], "the end of the compressed data is missing"),
        (b"\x1f\x8b", "the end of the compressed data is missing"),
    ],
    ids=[
        "zeros",
        "empty member",
        "garbage",
        "one byte",
        "zeros and a byte",
        "second member",
        "cut member",
        "cut header",
    ],
)
def test_what_follows_the_compressed_data(tmp_path, behind, message):
    content = gzipped(tmp_path) + behind
    if not message:
        assert read_nifti_array(tmp_path, content).shape == ARRAY.shape
        return
    with pytest.raises(DataError, match=message):
        read_nifti_array(tmp_path, content)


def test_several_members_are_one_file(tmp_path):
    raw = write(tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(b"".join(gzip.compress(raw[i : i + 301]) for i in range(0, len(raw), 301)))
    np.testing.assert_array_equal(read_nifti(tmp_path / "b.nii.gz", "a").array, ARRAY)


def test_surplus_bytes_of_a_plain_file(tmp_path):
    path = write(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes() + b"\0")
    fails(path, "goes on behind its last voxel")


@pytest.mark.fault(
    96, "a pointer of Git LFS or git-annex, a web page, a pipe, a device", "named as what it is", "mended"
)
@pytest.mark.fault(
    106,
    "a scan compressed by bzip2, xz or Zstandard; JSON that a server answered instead of it",
    "named as what it is",
    "unrecorded",
)
@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "not-downloaded",
            "Git LFS pointer.*git lfs pull",
        ),
        (b"/annex/objects/MD5E-s1--0.nii.gz\n", "not-downloaded", "git-annex pointer.*datalad get"),
        (b"<!DOCTYPE html><html><body>Google Drive</body></html>", "web-page", "is a web page.*download it again"),
        (b"\n <HTML>404</HTML>", "web-page", "is a web page"),
        (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "web-page", "is a web page"),
        (b"PK\x03\x04rest", "archive", "is a ZIP archive.*unpack it"),
        (b'{"error": "expired"}', "web-page", "is JSON text, as a server answers.*download it again"),
        (b"BZh91AY&SY", "archive", "is compressed by bzip2.*unpack it"),
        (b"\xfd7zXZ\x00", "archive", "is compressed by xz"),
        (b"(\xb5/\xfd$", "archive", "is compressed by Zstandard"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.png"])
def test_what_stands_for_a_scan(tmp_path, content, code, message, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_scan(tmp_path / name, "case7")
    assert caught.value.code == code


@pytest.mark.fault(96)
def test_links_pipes_and_devices(tmp_path):
    (tmp_path / "annex.nii.gz").symlink_to("../.git/annex/objects/aa/bb/x/x")
    fails(tmp_path / "annex.nii.gz", "git-annex link without content.*datalad get")
    (tmp_path / "link.nii.gz").symlink_to("nowhere")
    fails(tmp_path / "link.nii.gz", "link to a file that does not exist")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    fails(tmp_path / "pipe.nii.gz", "pipe, socket or device")
    (tmp_path / "zero.nii").symlink_to("/dev/zero")
    fails(tmp_path / "zero.nii", "pipe, socket or device")


@pytest.mark.parametrize("ending", [".NII.GZ", ".Nii.gz", ".NII"])
def test_upper_case_endings(tmp_path, ending):
    stored = write(tmp_path / f"a{ending.lower()}")
    np.testing.assert_array_equal(read_scan(stored.rename(tmp_path / f"SCAN{ending}"), "a").array, ARRAY)


@pytest.mark.fault(95)
@pytest.mark.parametrize("size", [0.01, 1e-3, 1e-6, 25.0])
def test_voxels_that_no_scan_of_a_head_has(tmp_path, size):
    fails(write(tmp_path / "a.nii", affine=np.diag([1, size, 1, 1.0])), r"voxel size is .* expected 0\.1 to 20 mm")


@pytest.mark.parametrize(("unit", "word"), [(1, "metres"), (3, "micrometres")])
def test_units_other_than_mm(tmp_path, unit, word):
    fails(patched(tmp_path, XYZT_UNITS, "<b", unit), f"states its lengths in {word}")


def test_a_matrix_that_contradicts_the_voxel_size(tmp_path):
    fails(
        patched(tmp_path, PIXDIM + 4, "<3f", 1.0, 1.0, 1.0),
        "pixdim says voxels of 1 x 1 x 1 mm, the orientation matrix 2",
    )
    volume = read_volume(patched(tmp_path, PIXDIM + 4, "<3f", 1.8, 1.8, 1.8), "a")
    assert volume.note_texts == (
        "pixdim says voxels of 1.8 x 1.8 x 1.8 mm, the orientation matrix 2 x 2 x 2 mm: the matrix is used",
    )


@pytest.mark.fault(95, "a scan larger than the memory, voxels that no head has", "refused from the header", "mended")
def test_a_scan_larger_than_the_memory_is_refused_from_its_header(tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii.gz")
    monkeypatch.setattr(limits, "available_memory", lambda: ARRAY.size * 24 - 1)
    with pytest.raises(DataError, match="GiB of memory") as caught:
        read_scan(path, "a")
    assert caught.value.code == "too-large"
    monkeypatch.setattr(limits, "available_memory", lambda: ARRAY.size * 24)
    assert read_scan(path, "a").array.size == ARRAY.size


def test_a_mask_or_probability_map_is_no_scan(tmp_path):
    for array in (LABEL, LABEL * 3, np.where(LABEL, 1.0, RNG.uniform(0, 0.9, ARRAY.shape)).astype(np.float32)):
        with pytest.raises(DataError, match="looks like a") as caught:
            read_scan(write(tmp_path / "a.nii", array), "a")
        assert caught.value.code == "not-a-scan"


def test_the_case_file_stays_as_it_is_stored(tmp_path):
    path = write(tmp_path / "a.nii.gz", affine=AFFINE @ np.diag([-1.0, 1, 1, 1]))
    scan = read_scan(path, "a")
    np.testing.assert_array_equal(scan.array, ARRAY)
    assert scan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert nib.Nifti1Header(scan.header).get_data_shape() == ARRAY.shape


LIKE = Scan(ARRAY, AFFINE, "nifti")
LABEL = np.zeros(ARRAY.shape, np.uint8)
LABEL[1:5, 1:5, 1:6] = 1


def test_label_is_binary_and_reoriented_like_its_image(tmp_path):
    flipped = nib.Nifti1Image(LABEL * 4, AFFINE).as_reoriented(np.array([[0, -1], [1, -1], [2, 1]]))
    nib.save(flipped, tmp_path / "m.nii.gz")
    label = read_label(tmp_path / "m.nii.gz", LIKE, "a")
    assert label.array.dtype == np.uint8
    np.testing.assert_array_equal(label.array, LABEL)
    assert label.notes == ()


def test_labels_are_merged_with_a_note(tmp_path):
    several = LABEL.copy()
    several[2, 2, 2] = 4
    label = read_label(write(tmp_path / "s.nii", several), LIKE, "a", "seg")
    np.testing.assert_array_equal(label.array, LABEL)
    assert label.notes == ("labels of the seg up to 4 merged into one",)


@pytest.mark.parametrize(
    ("array", "affine", "kind", "message"),
    [
        (LABEL[:, :, :-1], AFFINE, "mask", r"shape \(6, 7, 7\), the image \(6, 7, 8\)"),
        (LABEL, AFFINE + np.eye(4)[:, [3, 3, 3, 0]] * 0.2, "mask", "away from the image"),
        (LABEL * np.float32(0.4), AFFINE, "seg", "values such as 0.4"),
        (LABEL * np.float32(-1), AFFINE, "seg", "values down to -1"),
        (LABEL * 0, AFFINE, "mask", "is empty"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, array, affine, kind, message):
    with pytest.raises(DataError, match=message) as caught:
        read_label(write(tmp_path / "l.nii.gz", array, affine), LIKE, "case7", kind)
    assert str(caught.value).startswith("case7: ")


def test_tolerances_of_labels(tmp_path):
    noise = AFFINE.copy()
    noise[:3, 3] += 0.05
    read_label(write(tmp_path / "a.nii", LABEL, noise), LIKE, "a")
    noise[:3, 3] += 0.05
    with pytest.raises(DataError, match=r"lies up to 0\.173 mm away"):
        read_label(write(tmp_path / "a.nii", LABEL, noise), LIKE, "a")
    np.testing.assert_array_equal(
        read_label(write(tmp_path / "b.nii", LABEL * np.float32(1.0001)), LIKE, "a").array, LABEL
    )
    assert not read_label(write(tmp_path / "c.nii", LABEL * 0), LIKE, "a", "seg").array.any()


def test_interpolated_label_with_a_stated_threshold(tmp_path):
    soft = LABEL * np.float32(0.4)
    soft[1, 1, 1] = 0.9
    path = write(tmp_path / "a.nii", soft)
    assert read_label(path, LIKE, "a", "seg", threshold=0.0).array.sum() == LABEL.sum()
    half = read_label(path, LIKE, "a", "seg", threshold=0.5)
    assert (half.array.sum(), half.notes) == (1, ("interpolated seg: voxels above 0.5 taken",))


@pytest.mark.parametrize("share", [0.01, 0.95])
def test_mask_of_odd_size_is_noted(tmp_path, share):
    mask = (np.arange(ARRAY.size).reshape(ARRAY.shape) < share * ARRAY.size).astype(np.uint8)
    assert "looks wrong" in read_label(write(tmp_path / "a.nii", mask), LIKE, "a").notes[0]
