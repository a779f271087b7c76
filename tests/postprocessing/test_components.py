# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from custom.core.errors import DataError
from custom.postprocessing import remove_small_components
from tests.oracles.scipy_postprocessing import remove_small

pytestmark = [
    pytest.mark.fault(
        42,
        "tiny lesions",
        "components are cut by mm3; recall by size; lesions lost on the working grid are noted",
        "foreseen",
    ),
]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.02, 0.08, 0.9]), st.sampled_from([0, 1, 7, 30]))
def test_equals_a_loop_over_regions(seed: int, density: float, max_size: int) -> None:
    binary = np.random.default_rng(seed).random((14, 13, 9)) < density
    kept = remove_small_components(torch.from_numpy(binary), max_size)
    assert kept.dtype == torch.bool
    np.testing.assert_array_equal(kept.numpy(), remove_small(binary, max_size))


@pytest.mark.parametrize("max_size", [0, 7])
def test_the_map_itself_is_never_changed_nor_given_back(max_size: int) -> None:
    binary = torch.zeros(12, 6, 3, dtype=torch.bool)
    binary[:10, :2], binary[11, 5, 2] = True, True  # its box is the whole volume
    before = binary.clone()
    remove_small_components(binary, max_size).zero_()
    assert torch.equal(binary, before)


def test_seven_go_and_eight_stay() -> None:
    binary = torch.zeros(20, 6, 3)
    binary[0:7, 0, 0] = 1
    binary[0:8, 4, 2] = 1
    kept = remove_small_components(binary, 7)
    assert not kept[:, 0].any()
    assert kept[:, 4].sum() == 8


def test_corners_connect() -> None:
    binary = torch.zeros(9, 9, 9)
    binary[range(8), range(8), range(8)] = 1  # a diagonal: one component under 26-connectivity, eight under 6
    assert remove_small_components(binary, 7).sum() == 8


def shell(side: int, room: int = 9) -> np.ndarray:
    volume = np.zeros((room, room, room), dtype=bool)
    volume[1 : 1 + side, 1 : 1 + side, 1 : 1 + side] = True
    volume[2:side, 2:side, 2:side] = False
    return volume


@pytest.mark.parametrize("max_size", [25, 26, 27, 97, 98, 124, 125])
@pytest.mark.parametrize("side", [3, 5])
def test_holes_count_towards_the_size_but_stay_holes(side: int, max_size: int) -> None:
    """A shell of side 3 has 26 voxels around a hole of 1, one of side 5 has 98 around 27."""
    binary = shell(side)
    filled = remove_small_components(torch.from_numpy(binary), max_size).numpy()
    np.testing.assert_array_equal(filled, binary & (side**3 > max_size))
    np.testing.assert_array_equal(filled, remove_small(binary, max_size))


def test_a_hole_that_leaks_over_an_edge_is_no_hole() -> None:
    binary = shell(5)
    binary[1, 1, 3] = False  # hole and outside now touch diagonally: 97 voxels, nothing to fill
    for max_size in (96, 97, 100):
        kept = remove_small_components(torch.from_numpy(binary), max_size).numpy()
        np.testing.assert_array_equal(kept, binary & (max_size < 97))
        np.testing.assert_array_equal(kept, remove_small(binary, max_size))


def test_a_large_component_inside_a_small_ones_bounding_box_is_not_counted_in() -> None:
    binary = shell(5)
    binary[3, 3, 3] = True  # an island in the hole
    for max_size in (1, 98, 124, 125):
        kept = remove_small_components(torch.from_numpy(binary), max_size).numpy()
        np.testing.assert_array_equal(kept, remove_small(binary, max_size))


def test_empty_input_and_wrong_shape() -> None:
    assert not remove_small_components(torch.zeros(3, 3, 3), 7).any()
    with pytest.raises(DataError, match="case by case"):
        remove_small_components(torch.zeros(1, 3, 3, 3), 7)


def test_input_is_left_alone() -> None:
    binary = torch.zeros(4, 4, 4, dtype=torch.bool)
    binary[0, 0, 0] = True
    remove_small_components(binary, 7)
    remove_small_components(binary, 0).zero_()
    assert binary.sum() == 1
