# SPDX-License-Identifier: Apache-2.0
import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from custom.core.errors import DataError
from custom.volumes.volume_io import Volume, read_label, read_volume

AFFINE = np.array([[2.0, 0, 0, -20], [0, 2, 0, -30], [0, 0, 2, -10], [0, 0, 0, 1]])
RNG = np.random.default_rng(0)
ARRAY = RNG.uniform(1, 100, (6, 7, 8)).astype(np.float32)
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SLOPE, INTER = 40, 70, 76, 108, 112, 116  # byte offsets in the NIfTI-1 header
QFORM_CODE, SFORM_CODE, QUATERN, SROW = 252, 254, 256, 280


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


def fails(path: Path, message: str, **options) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_volume(path, "case7", **options)
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
    assert (volume.spacing, volume.notes) == ((2.0, 2.0, 2.0), ())


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
    assert volume.notes == ("scl_slope is NaN: taken as 1",)
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
    np.testing.assert_allclose(volume.spacing, 2, rtol=1e-6)


def test_nan_and_infinity_are_counted_and_located(tmp_path):
    array = ARRAY.copy()
    array[2, 3, 4] = np.nan
    array[5, 6, 7] = np.inf
    fails(write(tmp_path / "a.nii.gz", array), r"has 2 NaN or infinite voxels, the first at index \(2, 3, 4\)")
    fails(write(tmp_path / "b.nii", np.full((4, 4, 4), 1e300)), "64 NaN or infinite")


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
    assert "size 1 dropped" in volume.notes[0]


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


def test_size_limit_can_be_set(tmp_path):
    path = write(tmp_path / "a.nii")
    assert read_volume(path, "a", max_voxels=336).array.size == 336
    fails(path, "limit of 335", max_voxels=335)


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
    assert volume.notes == ("sform and qform differ by 0.25 mm: sform used",)
    np.testing.assert_allclose(read_volume(forms(tmp_path, None, shifted), "a").affine, shifted, atol=1e-6)
    assert read_volume(forms(tmp_path, AFFINE, AFFINE), "a").notes == ()
    fails(forms(tmp_path, AFFINE, AFFINE @ np.diag([-1.0, 1, 1, 1])), "sform says orientation RAS, qform LAS")


def test_no_orientation_codes(tmp_path):
    assert "orientation unknown" in read_volume(forms(tmp_path, None, None), "a").notes[0]


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
    assert volume.notes == ("spacing 5.00 mm is coarser than 3 mm: outside the training range",)


def test_truncated_and_foreign_files(tmp_path):
    whole = write(tmp_path / "a.nii.gz", RNG.uniform(size=(20, 20, 20)).astype(np.float32)).read_bytes()
    path = tmp_path / "b.nii.gz"
    for cut in (0.9, 0.5, 0.01):
        path.write_bytes(whole[: int(len(whole) * cut)])
        fails(path, "truncated or damaged|not a NIfTI")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path.write_bytes(flipped)
    fails(path, "truncated or damaged")
    path.write_bytes(b"")
    fails(path, "empty file")
    path.write_text("<html>404</html>")
    fails(path, r"is not gzipped, which its name denies.*rename it \(\*\.nii\)")
    path.write_bytes(gzip.compress(b"<html>404</html>"))
    fails(path, "not a NIfTI file")
    (tmp_path / "c.nii").write_bytes(whole)
    fails(tmp_path / "c.nii", r"is gzipped.*\*\.nii\.gz")
    fails(tmp_path / "nowhere.nii", "No such file")
    (tmp_path / "d.nii").mkdir()
    fails(tmp_path / "d.nii", "directory")


def test_a_gzip_bomb_is_read_to_the_size_of_its_header_only(tmp_path):
    raw = write(tmp_path / "a.nii").read_bytes() + bytes(50_000_000)
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(raw, 1))
    reads = []
    original = gzip.GzipFile.read
    try:
        gzip.GzipFile.read = lambda self, size=-1: reads.append(size) or original(self, size)
        np.testing.assert_array_equal(read_volume(tmp_path / "bomb.nii.gz", "a").array, ARRAY)
    finally:
        gzip.GzipFile.read = original
    assert 0 < sum(reads) <= len(raw) - 50_000_000 + 1
    assert min(reads) >= 0


LIKE = Volume(ARRAY, AFFINE, (2.0, 2.0, 2.0))
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
        (LABEL * np.float32(-1), AFFINE, "seg", "values such as -1"),
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
