# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from custom.core.errors import ConfigError, DataError
from custom.postprocessing import PostProcessing, in_mm, isbi2024, none
from tests.oracles.scipy_postprocessing import erode_axial, median, released_chain

SPACING = (2.0, 2.0, 2.0)


def case(seed: int = 0, shape: tuple[int, int, int] = (52, 49, 14)) -> tuple[np.ndarray, np.ndarray]:
    """A noisy map and an ellipsoid brain mask; the second axis counts: 49 // 25 = 1 erosion."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    mask = ((grid / np.array([0.8, 0.9, 1.0])[:, None, None, None]) ** 2).sum(axis=0) < 1
    noise = np.random.default_rng(seed).random(shape).astype(np.float32)
    return noise, mask.astype(np.uint8)


TEXT_ORDER = replace(isbi2024(), order=("mask", "median", "erosion"))


def run(chain: PostProcessing, anomaly_map: np.ndarray, mask: np.ndarray, threshold: float) -> tuple:
    prepared = chain.prepare(torch.from_numpy(anomaly_map), torch.from_numpy(mask), SPACING)
    return prepared.numpy(), chain.binarise(prepared, threshold, SPACING).numpy()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_isbi2024_equals_a_chain_of_scipy_and_skimage_calls(seed: int) -> None:
    anomaly_map, mask = case(seed)
    prepared, binary = run(isbi2024(), anomaly_map, mask, 0.55)
    expected_map, expected_binary = released_chain(anomaly_map, mask, 0.55)
    np.testing.assert_array_equal(prepared, expected_map)
    np.testing.assert_array_equal(binary, expected_binary)
    assert 0 < binary.sum() < (expected_map > 0.55).sum()  # the component step had something to do


def test_paper_text_order_filters_before_it_erodes() -> None:
    anomaly_map, mask = case()
    prepared, _ = run(TEXT_ORDER, anomaly_map, mask, 0.5)
    np.testing.assert_array_equal(prepared, median(anomaly_map * mask, 5) * erode_axial(mask, 1))
    assert not np.array_equal(prepared, run(isbi2024(), anomaly_map, mask, 0.5)[0])


def test_sizes_in_mm_equal_the_preset_on_its_own_grid() -> None:
    anomaly_map, mask = case(shape=(96, 96, 10))
    voxels, millimetres = run(isbi2024(), anomaly_map, mask, 0.55), run(in_mm(), anomaly_map, mask, 0.55)
    np.testing.assert_array_equal(voxels[0], millimetres[0])
    np.testing.assert_array_equal(voxels[1], millimetres[1])


def test_sizes_in_mm_follow_the_spacing() -> None:
    chain = PostProcessing(("mask", "erosion"), erosion_mm=6.0, component_mm3=56.0)
    mask = torch.ones(30, 30, 2)
    for spacing, rim in ((1.0, 6), (2.0, 3), (3.0, 2)):
        inside = chain.prepare(torch.ones(30, 30, 2), mask, (spacing, spacing, 5.0))
        assert inside.sum() == (30 - 2 * rim) ** 2 * 2
    line = torch.zeros(60, 3, 3)
    line[:8, 1, 1] = 1
    assert chain.binarise(line, 0.5, (2, 2, 2)).sum() == 8  # 64 mm³
    assert chain.binarise(line, 0.5, (1, 1, 7)).sum() == 0  # 56 mm³
    assert chain.binarise(line, 0.5, (1, 1, 7.01)).sum() == 8


def test_none_is_the_mask_alone() -> None:
    anomaly_map, mask = case()
    prepared, binary = run(none(), anomaly_map, mask, 0.99)
    np.testing.assert_array_equal(prepared, anomaly_map * mask)
    np.testing.assert_array_equal(binary, prepared > 0.99)


def test_threshold_is_strict() -> None:
    assert none().binarise(torch.tensor([[[0.4, 0.5, 0.6]]]), 0.5, SPACING).tolist() == [[[False, False, True]]]


def test_values_outside_the_mask_never_count_and_the_input_is_left_alone() -> None:
    anomaly_map, mask = (torch.from_numpy(array) for array in case())
    poisoned = anomaly_map.where(mask > 0, torch.tensor(float("nan")))
    assert torch.equal(isbi2024().prepare(poisoned, mask, SPACING), isbi2024().prepare(anomaly_map, mask, SPACING))
    assert torch.isnan(poisoned).any()


@pytest.mark.parametrize("chain", [isbi2024(), TEXT_ORDER, in_mm(), none()])
def test_description_is_json_and_tells_chains_apart(chain: PostProcessing) -> None:
    description = json.loads(json.dumps(chain.describe()))
    assert description["order"][: len(chain.order)] == list(chain.order)
    others = [other.describe() for other in (isbi2024(), TEXT_ORDER, in_mm(), none())]
    assert others.count(description) == 1


def test_description_holds_the_numbers() -> None:
    description = isbi2024().describe()
    assert (description["erosion_width_divisor"], description["median_voxels"], description["component_voxels"]) == (
        25,
        5,
        7,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"order": ["mask", "blur"]}, "blur"),
        ({"order": ["mask", "mask"]}, "at most once"),
        ({"order": ["mask", "erosion"]}, "exactly one of erosion_mm"),
        ({"order": ["mask"], "median_mm": 10.0}, "none if it is off"),
        ({"order": ["erosion"], "erosion_mm": 6.0, "erosion_iterations": 3}, "exactly one"),
        ({"order": [], "component_mm3": 56.0, "component_voxels": 7}, "exactly one"),
        ({"order": ["median"], "median_voxels": 4}, "must be odd"),
        ({"order": ["erosion"], "erosion_iterations": 2.5}, "whole number"),
        ({"order": ["median"], "median_mm": -1.0}, "value > 0"),
    ],
)
def test_impossible_chains_are_refused(arguments: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PostProcessing(**arguments)


def test_bad_cases_are_refused() -> None:
    ones = torch.ones(5, 5, 5)
    with pytest.raises(DataError, match="same grid"):
        none().prepare(ones, torch.ones(5, 5, 4), SPACING)
    with pytest.raises(DataError, match="mask is empty"):
        none().prepare(ones, torch.zeros(5, 5, 5), SPACING)
    for spacing in ((2.0, 2.0), (2.0, 0.0, 2.0), (2.0, float("nan"), 2.0)):
        with pytest.raises(DataError, match="voxel size"):
            none().prepare(ones, ones, spacing)
    with pytest.raises(ConfigError, match="NaN"):
        none().binarise(ones, float("nan"), SPACING)


@pytest.mark.parametrize(("shape", "iterations"), [((96, 96, 3), 3), ((50, 100, 3), 4), ((100, 50, 3), 2)])
def test_the_released_rule_takes_the_second_axis(shape: tuple[int, int, int], iterations: int) -> None:
    """``shape[1] // 25`` erosions: a full image loses that many pixels at each side."""
    chain = PostProcessing(("mask", "erosion"), erosion_width_divisor=25)
    kept = chain.prepare(torch.ones(shape), torch.ones(shape), SPACING)[:, :, 1] > 0
    assert kept.sum() == (shape[0] - 2 * iterations) * (shape[1] - 2 * iterations)
