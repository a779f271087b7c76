# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from custom.core.errors import DataError
from custom.scoring import l1, l2


def volumes(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(3, 4, 5), (1, 3, 4, 5), (2, 1, 3, 4, 5)]))
def test_residuals_equal_numpy_in_every_layout(seed: int, shape: tuple[int, ...]) -> None:
    image, reconstruction = volumes(seed, *shape)
    difference = image.numpy() - reconstruction.numpy()
    np.testing.assert_array_equal(l1(image, reconstruction).numpy(), np.abs(difference))
    np.testing.assert_array_equal(l2(image, reconstruction).numpy(), difference * difference)


def test_inputs_are_left_alone() -> None:
    image, reconstruction = volumes(0, 3, 4, 5)
    before = image.clone(), reconstruction.clone()
    l1(image, reconstruction)
    l2(image, reconstruction)
    assert torch.equal(image, before[0])
    assert torch.equal(reconstruction, before[1])


def test_half_precision_and_integers_are_scored_in_float32() -> None:
    image, reconstruction = torch.zeros(2, 2, 2, dtype=torch.uint8), torch.ones(2, 2, 2, dtype=torch.uint8)
    assert l1(image, reconstruction).dtype == torch.float32
    assert torch.equal(l1(image, reconstruction), torch.ones(2, 2, 2))  # uint8 would wrap around to 255
    assert l1(image.bfloat16(), reconstruction.half()).dtype == torch.float32
    assert l1(image.double(), reconstruction.float()).dtype == torch.float64


@pytest.mark.parametrize(
    ("image_shape", "reconstruction_shape", "words"),
    [
        ((4, 4, 4), (4, 4, 5), "same grid"),
        ((4, 4), (4, 4), r"volumes \[X, Y, Z\]"),
        ((3, 4, 4, 4), (3, 4, 4, 4), "Stack the slices"),
        ((2, 3, 4, 4, 4), (2, 3, 4, 4, 4), "one contrast at a time"),
        ((0, 4, 4), (0, 4, 4), "at least one voxel"),
    ],
)
def test_wrong_shapes_are_refused(image_shape: tuple, reconstruction_shape: tuple, words: str) -> None:
    with pytest.raises(DataError, match=words):
        l1(torch.zeros(image_shape), torch.zeros(reconstruction_shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", ["image", "reconstruction"])
def test_a_non_finite_voxel_is_named_with_its_place(value: float, which: str) -> None:
    pair = {"image": torch.zeros(4, 5, 6), "reconstruction": torch.zeros(4, 5, 6)}
    pair[which][1, 2, 3] = value
    with pytest.raises(DataError, match=rf"{which} has 1 voxel.*\[1, 2, 3\]"):
        l1(**pair)
