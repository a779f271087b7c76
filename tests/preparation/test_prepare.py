# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from custom.cohorts.split_csv import load_split
from custom.core.errors import ConfigError, DataError
from custom.preparation.prepare import NOTE_NO_MASK, preparation, prepare_case
from custom.preparation.smoothing import curvature_flow
from custom.volumes.records import ScanRecord

pytestmark = [
    pytest.mark.fault(42),
]

SMALL = {"shape": (12, 14, 8)}
SHAPE_1MM = (22, 31, 19)
ONE = np.array([[1.0, 0, 0, -10], [0, 1, 0, -15], [0, 0, 1, -7], [0, 0, 0, 1]])
TWO = ONE @ np.diag([2.0, 2, 2, 1])


def scan(tmp_path: Path, image, mask=None, seg=None, affine=ONE) -> ScanRecord:
    paths = {}
    for kind, array in (("image", image), ("mask", mask), ("seg", seg)):
        paths[kind] = None if array is None else tmp_path / f"c_{kind}.nii.gz"
        if array is not None:
            nib.save(nib.Nifti1Image(array, affine), paths[kind])
    return ScanRecord("s", "c", "t1", paths["image"], paths["mask"], paths["seg"], int(seg is not None), None, "mslub")


def phantom(shape=SHAPE_1MM, seed=0):
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    mask = (sum(a**2 for a in axes) < 0.9).astype(np.uint8)
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    image = ((200 + 400 * field / field.std() * 0.1 + 50 * axes[0]) * mask).astype(np.float32)
    return image, mask


def reference_isbi(image, mask, shape):
    """The released code's steps, written with SimpleITK and plain loops over axes."""
    sitk = pytest.importorskip("SimpleITK")
    picture = sitk.CurvatureFlow(sitk.GetImageFromArray(image.transpose(2, 1, 0)), 0.125, 3)
    out = sitk.GetArrayFromImage(picture).transpose(2, 1, 0)
    big = [2 * n for n in shape]
    for axis in range(3):
        lack = big[axis] - image.shape[axis]
        if lack > 0:
            widths = [(0, 0)] * 3
            widths[axis] = (int(np.ceil(lack / 2)), lack // 2)
            out, mask = np.pad(out, widths), np.pad(mask, widths)
        elif lack < 0:
            cut = slice(int(np.ceil(-lack / 2)), int(np.ceil(-lack / 2)) + big[axis])
            out, mask = (np.swapaxes(np.swapaxes(a, 0, axis)[cut], 0, axis) for a in (out, mask))
    low, high = np.percentile(out[mask > 0], (1, 99))
    out = np.clip(out, low, high)
    out = ((out - out.min()) / (out.max() - out.min())).astype(np.float32)
    source = sitk.GetImageFromArray(out.transpose(2, 1, 0))
    grid = (list(shape), sitk.Transform(), sitk.sitkBSpline, [0.5] * 3, [2.0] * 3, np.eye(3).ravel().tolist())
    half = sitk.GetArrayFromImage(sitk.Resample(source, *grid)).transpose(2, 1, 0)
    return half, mask[1::2, 1::2, 1::2]


@pytest.mark.parametrize("shape", [SHAPE_1MM, (57, 31, 44)])
def test_isbi2024_equals_the_released_chain(tmp_path, shape):
    image, mask = phantom(shape)
    case = prepare_case(scan(tmp_path, image, mask), preparation("isbi2024", **SMALL))
    expected, expected_mask = reference_isbi(image, mask, SMALL["shape"])
    np.testing.assert_allclose(case.image[0], expected, atol=5e-6)
    np.testing.assert_array_equal(case.mask[0], expected_mask)
    assert case.image.max() > 1.005  # B-spline overshoot is part of that preset


def test_curvature_flow_keeps_axes_and_uses_mm():
    sitk = pytest.importorskip("SimpleITK")
    image, _ = phantom()
    picture = sitk.GetImageFromArray(image.transpose(2, 1, 0))
    picture.SetSpacing((1.0, 1.5, 2.0))
    expected = sitk.GetArrayFromImage(sitk.CurvatureFlow(picture, 0.125, 3)).transpose(2, 1, 0)
    np.testing.assert_allclose(curvature_flow(image, (1.0, 1.5, 2.0), 3, 0.125), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 3, 6])
@pytest.mark.parametrize("corner", [(0, 0, 0), (9, 5, 12), (22, 30, 17)])
def test_curvature_flow_of_the_box_is_that_of_all(steps, corner):
    """Bit by bit, with a head in a corner, in the middle, and at the far end; and of nothing."""
    import itk

    image = np.zeros((40, 44, 36), dtype=np.float32)
    part = tuple(slice(start, start + size) for start, size in zip(corner, (18, 14, 19), strict=True))
    rng = np.random.default_rng(0)
    image[part] = rng.uniform(50, 900, image[part].shape) * (rng.random(image[part].shape) > 0.3)
    picture = itk.image_from_array(np.ascontiguousarray(image.transpose(2, 1, 0)))
    picture.SetSpacing((1.0, 1.5, 2.0))
    whole = itk.curvature_flow_image_filter(picture, number_of_iterations=steps, time_step=0.125)
    found = curvature_flow(image, (1.0, 1.5, 2.0), steps, 0.125)
    np.testing.assert_array_equal(found, itk.array_from_image(whole).transpose(2, 1, 0))
    assert np.count_nonzero(found) > np.count_nonzero(image)
    assert not curvature_flow(np.zeros_like(image), (1.0, 1.0, 1.0), steps, 0.125).any()


def test_smoothing_before_and_after_the_crop_is_the_same(tmp_path):
    """Bit by bit where the scan is larger than the field of view, though only the latter is smoothed."""
    image, mask = phantom((57, 31, 44))
    whole = preparation("standard", smoothing="curvature_flow", **SMALL)
    smoothed = scan(tmp_path, curvature_flow(image, (1.0, 1.0, 1.0), 3, 0.125), mask)
    expected = prepare_case(smoothed, preparation("standard", **SMALL))
    np.testing.assert_array_equal(prepare_case(scan(tmp_path, image, mask), whole).image, expected.image)


def test_standard_against_plain_cell_loops(tmp_path):
    image, mask = phantom()
    seg = np.zeros_like(mask)
    seg[8:14, 10:17, 6:12] = 1
    case = prepare_case(scan(tmp_path, image, mask, seg), preparation("standard", **SMALL))
    padded = [np.pad(a, ((1, 1), (0, 0), (0, 0)))[:, 2:30, 2:18] for a in (image, mask, seg)]
    low, high = np.percentile(padded[0][padded[1] > 0], (1, 99))
    scaled = np.clip((padded[0] - low) / (high - low), 0, 1)
    for i, j, k in np.ndindex(*SMALL["shape"]):
        cell = np.s_[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 2 * k : 2 * k + 2]
        inside = padded[1][cell].mean() >= 0.5
        assert case.mask[0, i, j, k] == inside
        assert case.seg[0, i, j, k] == (padded[2][cell].mean() >= 0.5)
        assert case.image[0, i, j, k] == pytest.approx(scaled[cell].mean() if inside else 0, abs=1e-5)
    assert case.image.dtype == np.float32
    assert case.mask.dtype == case.seg.dtype == np.uint8
    assert case.image.shape == case.mask.shape == case.seg.shape == (1, *SMALL["shape"])
    assert case.notes == ()


@pytest.mark.parametrize("spacing", [1, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_a_bright_blob_stays_at_its_place_in_the_world(tmp_path, spacing, flip):
    shape = tuple(n * 2 // spacing + 3 for n in SMALL["shape"])
    axes = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    centre = np.array([shape[0] / 2 + 2, shape[1] / 2 - 2, shape[2] / 2 + 1])
    image = np.exp(-sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) / (2 * (5 / spacing) ** 2)).astype(
        np.float32
    )
    affine = (ONE if spacing == 1 else TWO).copy()
    world = affine @ [*centre, 1]
    if flip:
        affine = affine @ np.diag([-1.0, 1, 1, 1])
        affine[:3, 3] += [(shape[0] - 1) * spacing, 0, 0]
        image = image[::-1].copy()
    case = prepare_case(
        scan(tmp_path, image, np.ones(shape, np.uint8), affine=affine), preparation("standard", **SMALL)
    )
    weights = case.image[0].astype(float) ** 4
    index = [
        float((weights * a).sum() / weights.sum()) for a in np.meshgrid(*map(np.arange, SMALL["shape"]), indexing="ij")
    ]
    np.testing.assert_allclose((case.affine @ [*index, 1])[:3], world[:3], atol=0.35)
    np.testing.assert_allclose(np.diag(case.affine)[:3], 2)


@pytest.mark.parametrize(("label_halving", "shift"), [("majority", 0.0), ("nearest_upper", -0.25)])
def test_labels_lie_where_the_image_lies(tmp_path, label_halving, shift):
    """A bright block and its label: their distance, averaged over even and odd positions, in working voxels."""
    distances = []
    for start in (6, 7):
        image = np.zeros((24, 28, 16), np.float32)
        x, y, z = np.meshgrid(*(np.abs(np.arange(n) - (n - 1) / 2) for n in (10, 10, 8)), indexing="ij")
        image[start : start + 10, start + 2 : start + 12, start - 3 : start + 5] = 100 - x - y - z  # symmetric
        label = (image > 0).astype(np.uint8)
        settings = preparation("standard", label_halving=label_halving, **SMALL)
        case = prepare_case(scan(tmp_path, image, np.ones_like(label), label), settings)
        distances.append(np.subtract(*(ndimage.center_of_mass(a[0].astype(float)) for a in (case.seg, case.image))))
    np.testing.assert_allclose(np.mean(distances, axis=0), shift, atol=1e-5)


def test_two_mm_scans_are_cropped_only(tmp_path):
    image, mask = phantom((14, 14, 12))
    case = prepare_case(scan(tmp_path, image, mask, affine=TWO), preparation("standard", **SMALL))
    cut, cut_mask = image[1:13, :, 2:10], mask[1:13, :, 2:10]
    low, high = np.percentile(cut[cut_mask > 0], (1, 99))
    np.testing.assert_allclose(case.image[0], np.clip((cut - low) / (high - low), 0, 1) * cut_mask, atol=1e-6)
    np.testing.assert_array_equal(case.mask[0], cut_mask)
    np.testing.assert_allclose(case.affine[:3, 3], TWO[:3, 3] + [2, 0, 4])
    plain = prepare_case(scan(tmp_path, image, mask, affine=TWO), preparation("isbi2024", **SMALL))
    smooth = prepare_case(
        scan(tmp_path, image, mask, affine=TWO), preparation("isbi2024", smooth_working_grid=True, **SMALL)
    )
    np.testing.assert_allclose(plain.image[0], np.clip((cut - low) / (high - low), 0, 1), atol=1e-6)
    assert np.abs(smooth.image - plain.image).max() > 1e-3


def test_healthy_scan_without_mask(tmp_path):
    image, mask = phantom()
    case = prepare_case(scan(tmp_path, image), preparation("standard", **SMALL))
    assert case.notes == (NOTE_NO_MASK,)
    assert not case.seg.any()
    np.testing.assert_array_equal(case.mask, prepare_case(scan(tmp_path, image, mask), preparation(**SMALL)).mask)


def test_lost_ground_truth_is_reported(tmp_path):
    image, mask = phantom()
    for where, note in (
        (np.s_[10, 10, 10], "empty on the working grid"),
        (np.s_[:, :, :2], "empty on the working grid"),
        (np.s_[8:14, 8:14, 0:3], "shrinks from 0.108 to 0.048 ml"),
        (np.s_[0:0], "the ground truth is empty"),
    ):
        seg = np.zeros_like(mask)
        seg[where] = 1
        (found,) = prepare_case(scan(tmp_path, image, mask, seg), preparation("standard", **SMALL)).notes
        assert note in found


def test_unusable_cases(tmp_path):
    image, mask = phantom()
    settings = preparation("standard", **SMALL)
    with pytest.raises(DataError, match=r"c: the spacing is 0\.7 x 0\.7 x 3 mm, expected 1 or 2 mm"):
        prepare_case(scan(tmp_path, image, mask, affine=np.diag([0.7, 0.7, 3, 1])), settings)
    low = np.zeros_like(mask)
    low[:, :, 0] = 1
    with pytest.raises(DataError, match="empty after cropping"):
        prepare_case(scan(tmp_path, image, low), settings)
    thin = np.zeros_like(mask)
    thin[10, ::2] = 1
    with pytest.raises(DataError, match="empty on the model's grid"):
        prepare_case(scan(tmp_path, image, thin), settings)
    flat = np.where(mask > 0, np.float32(3), np.arange(mask.size, dtype=np.float32).reshape(mask.shape))
    with pytest.raises(DataError, match="no contrast inside the brain"):
        prepare_case(scan(tmp_path, flat, mask), settings)


def test_interpolated_labels_of_the_circulating_archive(tmp_path):
    image, mask = phantom()
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.7)
    with pytest.raises(DataError, match="label_threshold"):
        prepare_case(scan(tmp_path, image, soft), preparation("standard", **SMALL))
    half = prepare_case(scan(tmp_path, image, soft), preparation("standard", label_threshold=0.5, **SMALL))
    wide = prepare_case(scan(tmp_path, image, soft), preparation("isbi2024", **SMALL))
    assert wide.mask.sum() > half.mask.sum()


def test_the_main_tissue_keeps_its_value_beside_a_large_bright_lesion(tmp_path):
    image, mask = phantom()
    white = np.zeros_like(mask)
    white[:, 10:] = 1
    image = np.where(white > 0, 500, 300) * mask + np.random.default_rng(1).normal(0, 15, mask.shape) * mask
    lesion = np.where(mask * white * (np.indices(mask.shape)[2] > 13) > 0, 900, image)
    assert 0.05 < (lesion == 900).sum() / mask.sum() < 0.2
    values = {}
    for name, array in (("healthy", image), ("brighter scanner", 3 * image + 200 * mask), ("lesion", lesion)):
        for tissue in (None, 0.7):
            case = prepare_case(
                scan(tmp_path, array.astype(np.float32), mask), preparation("standard", tissue=tissue, **SMALL)
            )
            inside = case.mask[0][4:-4, 8:11, 2:4] > 0  # white matter without lesion
            values[name, tissue] = float(np.median(case.image[0][4:-4, 8:11, 2:4][inside]))
    assert values["healthy", 0.7] == pytest.approx(0.7, abs=0.03)
    assert values["brighter scanner", 0.7] == pytest.approx(values["healthy", 0.7], abs=0.01)
    assert values["lesion", 0.7] == pytest.approx(values["healthy", 0.7], abs=0.03)
    assert abs(values["lesion", None] - values["healthy", None]) > 0.2  # the 99th percentile moves


def test_digest_follows_the_settings_not_the_name():
    base = preparation("standard")
    assert base.digest() == preparation("standard", name="other").digest()
    digests = {base.digest()}
    for change in (
        {"smoothing": "curvature_flow"}, {"percentiles": (2, 99)}, {"shape": (96, 96, 48)},
        {"image_halving": "bspline"},
        {"label_threshold": 0.5}, {"clip_and_mask": False}, {"label_halving": "nearest_upper"}, {"smoothing": "curvature_flow", "smoothing_steps": 4},
        {"tissue": 0.7}, {"tissue": 0.6},
    ):  # fmt: skip
        digests.add(preparation("standard", **change).digest())
    assert len(digests) == 11
    assert preparation(percentiles=[1, 99]).digest() == base.digest()
    assert next(s for s in base.describe()["steps"] if s["step"] == "FieldOfView")["shape"] == [96, 96, 50]


def test_wrong_settings():
    for bad, message in (
        ({"smoothing": "gauss"}, "smoothing must be one of"),
        ({"percentiles": (99, 1)}, "percentiles must rise"),
        ({"shape": (96, 96)}, "must be positive"),
        ({"tissue": 1.5}, "tissue must lie above 0"),
        ({"clip": True}, "unknown setting clip"),
    ):
        with pytest.raises(ConfigError, match=message):
            preparation("standard", **bad)
    with pytest.raises(ConfigError, match="known: standard, isbi2024"):
        preparation("isbi")


@pytest.mark.skipif("UAD_REAL_DATA" not in os.environ, reason="UAD_REAL_DATA is not set")
def test_real_scans():
    root = Path(os.environ["UAD_REAL_DATA"])
    assert len(load_split(root, "ixi", "train", "t1", fold=0)) == 140
    for dataset, split, contrast, fold in (
        ("ixi", "val", "t1", 0),
        ("mslub", "val", "t2", None),
        ("tcga_lgg", "val", "t1", None),
    ):
        record = load_split(root, dataset, split, contrast, fold)[0]
        case = prepare_case(record, preparation("standard"))
        assert case.image.shape == (1, 96, 96, 50)
        original = nib.load(record.mask)
        np.testing.assert_array_equal(case.mask[0], original.get_fdata()[:, :, 15:65])
        np.testing.assert_allclose(
            case.affine, original.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 15], [0, 0, 0, 1]])
        )
        assert 0.2 < case.image[case.mask > 0].mean() < 0.8
        assert case.seg.any() == (dataset != "ixi")
    raw = ScanRecord("r", "r", "t1", root / "raw/mslub_long01_study1_T1W.nii.gz", None, None, 0, None, "mslub")
    with pytest.raises(DataError, match="still has its skull"):
        prepare_case(raw, preparation("standard"))
