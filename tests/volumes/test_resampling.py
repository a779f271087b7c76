# SPDX-License-Identifier: Apache-2.0
"""Resampling touches only the part of the wanted grid that the source reaches; the rest is zero."""

import numpy as np
import pytest
from scipy import ndimage

from custom.volumes.resampling import resample


@pytest.mark.parametrize("shift_mm", [0.0, -7.3, 11.6, 500.0])
def test_the_reached_box_holds_all_that_is_not_zero(shift_mm: float) -> None:
    rng = np.random.default_rng(1)
    array = np.zeros((9, 11, 7), np.float32)
    array[2:8, 1:, :6] = rng.uniform(1, 2, (6, 10, 6))
    turn = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, -1.0, 0], [0, 0, 0, 1]])
    affine, to_affine = turn @ np.diag([2.0, 1.5, 3.0, 1.0]), np.diag([1.0, 1.0, 1.2, 1.0])
    to_affine[:3, 3] = [shift_mm - 20, -20, -25]
    got = resample(array, affine, to_affine, (40, 40, 40), antialias=False)
    to_source = np.linalg.inv(affine) @ to_affine
    wanted = ndimage.affine_transform(
        array, to_source[:3, :3], to_source[:3, 3], output_shape=(40, 40, 40), order=1, mode="grid-constant"
    )
    assert got.shape == (40, 40, 40)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert (wanted.any() and not wanted.all()) or shift_mm == 500.0
    assert not resample(0 * array, affine, to_affine, (40, 40, 40), antialias=False).any()
