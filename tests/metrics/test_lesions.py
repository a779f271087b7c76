# SPDX-License-Identifier: Apache-2.0
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.measure import label

from custom.core.errors import DataError
from custom.metrics import lesion_counts

pytestmark = [
    pytest.mark.fault(42),
]

UNIT = (1.0, 1.0, 1.0)


def blobs(volume: NDArray) -> list[NDArray]:
    labels = label(volume, connectivity=3)
    return [labels == number for number in range(1, labels.max() + 1)]


def most_pairs(good: NDArray) -> int:
    """Largest number of pairs with no row and no column twice, by trying all subsets of pairs."""
    pairs = np.argwhere(good)
    for size in range(min(good.shape), 0, -1):
        for chosen in combinations(pairs, size):
            if len({r for r, _ in chosen}) == len({c for _, c in chosen}) == size:
                return size
    return 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_equals_a_loop_over_lesions_and_components(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction = rng.random((7, 6, 5)) < 0.07, rng.random((7, 6, 5)) < 0.07
    prediction |= truth & (rng.random(truth.shape) < 0.5)
    found = lesion_counts(prediction, truth, UNIT)
    lesions, components = blobs(truth), blobs(prediction)
    assert (found.lesions, found.components) == (len(lesions), len(components))
    good = np.array([[(a & b).sum() / (a | b).sum() >= 0.1 for b in components] for a in lesions])
    pairs = most_pairs(good.reshape(len(lesions), len(components)))
    assert (found.found, found.true_components) == (pairs, pairs)


def test_corners_connect_and_size_decides_the_bin() -> None:
    truth = np.zeros((30, 10, 10), bool)
    truth[range(8), range(8), range(8)] = True  # 8 voxels of 8 mm³ touching at corners: one lesion of 64 mm³
    truth[10:15, :5, :1] = True  # 25 voxels: 200 mm³
    truth[20:30] = True  # 1000 voxels: 8000 mm³
    prediction = np.zeros_like(truth)
    prediction[10:13, 2, 0] = prediction[25:27] = True  # 3 of 25 voxels, 200 of 1000
    prediction[17, 8, 8] = True  # touches nothing
    found = lesion_counts(torch.from_numpy(prediction), truth.astype(np.uint8), (2, 2, 2))
    assert (found.lesions, found.found, found.components, found.true_components) == (3, 2, 3, 2)
    assert found.lesions_by_size == (1, 1, 1, 0)
    assert found.found_by_size == (0, 1, 1, 0)
    assert found.false_positive_components == 1
    table = found.as_dict()
    assert table["lesion_recall_0_to_100_mm3"] == 0
    assert table["lesion_recall_100_to_1000_mm3"] == 1
    assert table["lesion_recall_10000_and_more_mm3"] is None
    assert table["lesion_f1"] == pytest.approx(2 / 3)


def test_a_lesion_on_the_edge_of_a_bin_belongs_to_the_lower_one() -> None:
    truth = np.zeros((5, 5, 5), bool)
    truth[0, :2, 0] = True
    assert lesion_counts(truth, truth, (10.0, 5.0, 1.0)).lesions_by_size == (1, 0, 0, 0)  # 100 mm³


def test_one_component_over_two_lesions() -> None:
    truth = np.zeros((11, 3, 3), bool)
    truth[0:4], truth[7:11] = True, True
    prediction = np.ones_like(truth)
    one = lesion_counts(prediction, truth, UNIT)  # intersection over union of 0.1, one to one
    assert (one.found, one.components) == (1, 1)
    assert one.f1 == pytest.approx(2 / 3)


def test_nothing_to_find_and_nothing_found() -> None:
    empty, full = np.zeros((3, 3, 3)), np.ones((3, 3, 3))
    none = lesion_counts(full, empty, UNIT)
    assert (none.recall, none.f1, none.false_positive_components) == (None, None, 1)
    missed = lesion_counts(empty, full, UNIT)
    assert (missed.recall, missed.precision, missed.f1) == (0, None, 0)


def test_cases_pool() -> None:
    rng = np.random.default_rng(0)
    volumes = rng.random((2, 2, 8, 8, 8)) < 0.05
    a, b = (lesion_counts(p, t, UNIT) for p, t in volumes)
    apart = np.zeros((2, 8, 8, 2 * 8 + 1), bool)
    apart[..., :8], apart[..., 9:] = volumes[0], volumes[1]
    assert a + b == lesion_counts(*apart, UNIT)


def test_volumes_of_two_grids_are_refused() -> None:
    with pytest.raises(DataError, match="same grid"):
        lesion_counts(np.ones((2, 2, 2)), np.ones((2, 2, 3)), UNIT)
