# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from custom.core.errors import ConfigError
from custom.postprocessing import erode_mask_axial, radius_to_iterations
from tests.oracles.scipy_postprocessing import erode_axial


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 4), st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(1, 4)))
def test_equals_scipy_slice_by_slice(seed: int, iterations: int, shape: tuple[int, int, int]) -> None:
    mask = (np.random.default_rng(seed).random(shape) < 0.9).astype(np.uint8)
    eroded = erode_mask_axial(torch.from_numpy(mask), iterations)
    assert eroded.dtype == torch.bool
    np.testing.assert_array_equal(eroded.numpy(), erode_axial(mask, iterations))
    assert torch.equal(erode_mask_axial(torch.from_numpy(mask > 0), iterations), eroded)


@pytest.mark.parametrize("iterations", [0, 2])
def test_the_mask_itself_is_never_changed_nor_given_back(iterations: int) -> None:
    mask = torch.ones(8, 8, 2, dtype=torch.bool)
    erode_mask_axial(mask, iterations).zero_()
    assert mask.all()


def test_a_disc_loses_its_rim_in_plane_only() -> None:
    mask = torch.zeros(11, 11, 3)
    mask[2:9, 2:9, :] = 0.25  # fractional, as linear resampling leaves it
    eroded = erode_mask_axial(mask, 2)
    expected = torch.zeros(11, 11, 3, dtype=torch.bool)
    expected[4:7, 4:7, :] = True
    assert torch.equal(eroded, expected)


def test_a_mask_that_touches_the_border_is_eroded_there() -> None:
    eroded = erode_mask_axial(torch.ones(6, 5, 1), 1)
    assert eroded.sum() == 4 * 3
    assert not eroded[0].any()


@pytest.mark.parametrize(
    ("radius_mm", "spacing_mm", "iterations"),
    [(6.0, (2.0, 2.0, 2.0), 3), (6.0, (1.0, 1.0, 5.0), 6), (6.0, (4.0, 4.0, 4.0), 2), (0.4, (1.0, 1.0, 1.0), 0),
     (6.0, (1.5, 2.5, 1.0), 3), (0.3, (0.1, 0.1, 0.1), 3)],
)  # fmt: skip
def test_radius_in_mm(radius_mm: float, spacing_mm: tuple[float, ...], iterations: int) -> None:
    assert radius_to_iterations(radius_mm, spacing_mm) == iterations


def test_negative_iterations_are_refused() -> None:
    with pytest.raises(ConfigError, match="-1"):
        erode_mask_axial(torch.ones(3, 3, 3), -1)
