# SPDX-License-Identifier: Apache-2.0
"""One rule of what is brain: backgrounds of any one value, interpolated edges, z-scores, and what is no brain."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from custom.core.errors import DataError
from custom.preparation.brain import NOTE_INTERPOLATED, BrainMask, background_of, find_brain
from custom.preparation.prepare import preparation
from custom.preparation.subject import Subject

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SHAPE = (96, 96, 80)
SETTINGS = preparation("standard")


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    """An ellipsoid of 1.4 l with tissue of 400 to 900, folds and a rough surface; background 0."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=SHAPE), 3)
    radius = np.sqrt(sum((a / r) ** 2 for a, r in zip(axes, (0.7, 0.85, 0.82), strict=True)))
    inside = radius < 1 + 0.3 * ndimage.gaussian_filter(rng.normal(size=SHAPE), 2)
    inside = ndimage.binary_fill_holes(inside)
    labels, _ = ndimage.label(inside)
    inside = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    tissue = 650 + 2500 * field + 40 * rng.normal(size=SHAPE)
    return np.where(inside, np.clip(tissue, 300, 1000), 0).astype(np.float32)


def prepared(image: np.ndarray) -> Subject:
    return SETTINGS(Subject("a", image.astype(np.float32), AFFINE))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: np.where(a > 0, a, -1),
        lambda a: a + 12,
        lambda a: a + 5000,
        lambda a: a + np.random.default_rng(1).uniform(0, 1e-6, a.shape),
        lambda a: (a - a.mean()) / a.std(),
        lambda a: a / 32767,
    ],
    ids=["-1", "offset 12", "offset 5000", "float noise", "z-score of all", "tiny"],
)
def test_any_one_background_gives_the_same_input(brain, change) -> None:
    base, other = prepared(brain), prepared(change(brain))
    np.testing.assert_array_equal(other.mask, base.mask)
    np.testing.assert_allclose(other.image, base.image, atol=1e-3)
    assert other.notes == base.notes == ()


def test_negative_intensities_inside_the_brain_stay_inside(brain) -> None:
    """A z-score over the brain alone puts the background in the middle of the intensities."""
    inside = brain > 0
    scored = np.where(inside, (brain - brain[inside].mean()) / brain[inside].std(), 0)
    base, other = prepared(brain), prepared(scored)
    assert (other.mask != base.mask).sum() <= 5  # a voxel of the surface may have just the mean
    np.testing.assert_allclose(other.image * base.mask, base.image * other.mask, atol=1e-3)


@pytest.mark.parametrize(("order", "limit"), [(1, 0.97), (3, 0.96)])
@pytest.mark.parametrize("degrees", [0, 5])
def test_an_interpolated_edge_is_cut_at_half_of_the_tissue(brain, order, limit, degrees) -> None:
    turn = Rotation.from_euler("xyz", [degrees, degrees / 2, -degrees], degrees=True).as_matrix()
    centre = (np.array(SHAPE) - 1) / 2
    moved, inside = (
        ndimage.affine_transform(a, turn, centre - turn @ centre + 0.4, order=o)
        for a, o in ((brain, order), ((brain > 0).astype(np.float32), 1))
    )
    mask, notes = find_brain(moved, 0.0, "a")
    truth = inside > 0.5
    assert notes == (NOTE_INTERPOLATED,)
    assert abs(mask.sum() / truth.sum() - 1) < 0.02
    assert 2 * (mask * truth).sum() / (mask.sum() + truth.sum()) > limit
    untouched = moved > 0.001 * moved.max()
    assert untouched.sum() / truth.sum() > 1.04  # what would have been taken as brain


def test_a_sharp_edge_is_left_alone(brain) -> None:
    mask, notes = find_brain(brain, 0.0, "a")
    np.testing.assert_array_equal(mask, brain > 0)
    assert notes == ()


def test_a_background_of_many_values_is_refused(brain) -> None:
    noisy = brain + np.abs(np.random.default_rng(0).normal(0, 8, SHAPE)).astype(np.float32)
    assert background_of(noisy) is None
    with pytest.raises(DataError, match=r"a: (the background is not one value|.*skull)"):
        prepared(noisy)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (np.s_[40:50, 40:50, 40:50], "has 8 ml, which is no brain"),
        (np.s_[:, :, :], "covers 100% of the field of view"),
        (np.s_[2:94, 2:94, 2:78], "has 5146 ml, which is no brain"),
    ],
)
def test_a_mask_that_can_be_no_brain_is_refused(brain, box, message) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[box] = 1
    with pytest.raises(DataError, match=f"a: the brain mask {message}"):
        BrainMask()(Subject("a", brain, AFFINE, mask=mask))


def test_a_picture_has_a_brain_too(brain) -> None:
    flat = brain[:, :, 40:41] - 7
    mask, _ = find_brain(flat, -7.0, "a")
    assert mask.shape == flat.shape
    np.testing.assert_array_equal(mask, flat > -7)
    subject = preparation("standard", shape=(48, 48, 1))(Subject("a", flat, AFFINE))
    assert subject.image.shape == subject.mask.shape == (48, 48, 1)
    assert 0.3 < subject.image[subject.mask > 0].mean() < 0.7


def test_real_scans_with_an_interpolated_edge(real_data) -> None:
    for path in sorted(real_data.glob("Test/*/[tf]*/*.nii.gz")):
        array = np.asarray(nib.load(path).dataobj, dtype=np.float32)
        mask, notes = find_brain(array, 0.0, path.name)
        assert notes == ()
        _, moved_notes = find_brain(ndimage.shift(array, 0.4, order=1), 0.0, path.name)
        assert moved_notes == (NOTE_INTERPOLATED,)
        assert mask.sum() > 100_000
