# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from custom.volumes.grid import (
    block,
    halve_bspline,
    halve_majority,
    halve_mean,
    halve_nearest_upper,
    halved_affine,
    start_index,
)


def test_anchors_of_the_released_code():
    """140x171x138 to 192x192x100: pad (26, 26) and (11, 10), crop (19, 19)."""
    array = np.ones((140, 171, 138), np.uint8)
    out = block(array, [start_index(h, w) for h, w in zip(array.shape, (192, 192, 100), strict=True)], (192, 192, 100))
    assert out.shape == (192, 192, 100)
    inside = np.argwhere(out[:, :, 0])
    assert inside.min(0).tolist() == [26, 11]
    assert (191 - inside.max(0)).tolist() == [26, 10]
    assert start_index(138, 100) == 19


@given(st.integers(1, 12), st.integers(1, 12))
def test_odd_rest_at_the_start_and_world_positions_kept(have, want):
    line = np.arange(1, have + 1)
    out = block(line, [start_index(have, want)], [want])
    first = start_index(have, want)
    assert abs(first) - (abs(have - want) - abs(first)) in (0, 1)
    assert all(index + first == value - 1 for index, value in enumerate(out) if value)


def test_nearest_picks_the_upper_voxel():
    ramp = np.broadcast_to(np.arange(8), (8, 8, 8))
    assert halve_nearest_upper(ramp)[0, 0].tolist() == [1, 3, 5, 7]


def test_mean_keeps_linear_ramps_at_the_positions_of_the_affine():
    affine = np.array([[1.0, 0.1, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
    i, j, _ = np.meshgrid(range(8), range(6), range(4), indexing="ij")
    world = affine[0, 0] * i + affine[0, 1] * j + affine[0, 3]
    half = halved_affine(affine)
    found = halve_mean(world.astype(np.float32))
    index = np.argwhere(np.ones(found.shape))
    expected = index @ half[0, :3] + half[0, 3]
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6)


def test_bspline_is_the_scipy_interpolant_at_cell_centres():
    image = np.random.default_rng(1).uniform(0, 1, (12, 16, 10)).astype(np.float32)
    points = np.meshgrid(*[np.arange(0, n, 2) + 0.5 for n in image.shape], indexing="ij")
    expected = ndimage.map_coordinates(image.astype(np.float64), points, order=3, mode="mirror")
    np.testing.assert_allclose(halve_bspline(image), expected, atol=2e-6)


def test_bspline_equals_simpleitk_resampling():
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(2)
    smooth = ndimage.gaussian_filter(rng.uniform(0, 1, (48, 40, 36)), 2).astype(np.float32)
    image = (smooth - smooth.min()) / np.ptp(smooth)
    source = sitk.GetImageFromArray(image.transpose(2, 1, 0))
    size = [n // 2 for n in image.shape]
    resampled = sitk.Resample(
        source, size, sitk.Transform(), sitk.sitkBSpline, [0.5] * 3, [2.0] * 3, np.eye(3).ravel().tolist()
    )
    np.testing.assert_allclose(halve_bspline(image), sitk.GetArrayFromImage(resampled).transpose(2, 1, 0), atol=1.5e-6)


def test_bspline_overshoots_at_an_edge_and_mean_does_not():
    step = np.zeros((16, 16, 16), np.float32)
    step[6:] = 1
    assert halve_bspline(step).max() > 1.02
    assert (halve_mean(step).min(), halve_mean(step).max()) == (0, 1)


def test_majority_is_half_of_a_cell_or_more():
    for count in range(9):
        cell = (np.arange(8) < count).astype(np.uint8).reshape(2, 2, 2)
        assert halve_majority(cell).item() == (count >= 4)


@pytest.mark.parametrize(
    ("radius_mm", "least", "most"), [(1.5, 0.7, 0.95), (2, 0.85, 1.1), (3, 0.95, 1.1), (6, 0.95, 1.1)]
)
def test_small_lesions_keep_their_volume(radius_mm, least, most):
    """Spheres of 1 mm voxels at random places; a strict majority would keep 0.39, 0.58, 0.75 and 0.90 of them."""
    rng = np.random.default_rng(0)
    points = np.stack(np.meshgrid(*[np.arange(20)] * 3, indexing="ij"), axis=-1)
    kept = []
    for _ in range(60):
        centre = 9 + rng.random(3) * 2
        sphere = (((points - centre) ** 2).sum(axis=-1) <= radius_mm**2).astype(np.uint8)
        kept.append((8 * halve_majority(sphere).sum(dtype=int), sphere.sum(dtype=int)))
    halved, original = np.array(kept).sum(axis=0)
    assert least < halved / original < most
