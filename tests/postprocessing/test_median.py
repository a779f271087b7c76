# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from custom.core.errors import ConfigError, DataError
from custom.postprocessing import median as median_module
from custom.postprocessing import median_filter, width_to_voxels
from tests.oracles.scipy_postprocessing import median as scipy_median


def make_map(seed: int, shape: tuple[int, ...], kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape).astype(np.float32)
    brain = rng.random(shape) < 0.6 if kind != "dense" else np.ones(shape, dtype=bool)
    if kind == "ties":
        values = np.round(values)
    return values * brain if kind == "signed" else np.abs(values) * brain


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["masked", "dense", "signed", "ties"]),
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12)),
    st.sampled_from([1, 3, 5, (5, 5, 1), (3, 1, 5)]),
)
def test_equals_scipy_bit_for_bit(seed: int, kind: str, shape: tuple[int, ...], size: int | tuple[int, ...]) -> None:
    anomaly_map = make_map(seed, shape, kind)
    ours = median_filter(torch.from_numpy(anomaly_map), size)
    np.testing.assert_array_equal(ours.numpy(), scipy_median(anomaly_map, size))


def test_a_brain_larger_than_one_chunk_and_float64() -> None:
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (40, 44, 26)], indexing="ij"))
    anomaly_map = np.abs(np.random.default_rng(0).normal(size=grid.shape[1:])) * ((grid**2).sum(axis=0) < 0.8)
    ours = median_filter(torch.from_numpy(anomaly_map), 5)
    assert ours.dtype == torch.float64
    assert np.count_nonzero(ours.numpy()) * 125 > median_module._CHUNK_VALUES["cpu"]
    np.testing.assert_array_equal(ours.numpy(), scipy_median(anomaly_map, 5))


def test_selection_by_torch_equals_selection_by_numpy() -> None:
    windows = torch.rand(50, 125, generator=torch.Generator().manual_seed(1)).round(decimals=1)
    expected = windows.sort(dim=1).values[:, 62]
    assert torch.equal(median_module._select(windows.clone(), use_numpy=False), expected)
    assert torch.equal(median_module._select(windows.clone(), use_numpy=True), expected)


def test_only_voxels_with_a_majority_of_positive_neighbours_are_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    anomaly_map = torch.zeros(20, 20, 20)
    anomaly_map[5:10, 5:10, 5:10] = 1.0
    rows = []
    select = median_module._select
    monkeypatch.setattr(
        median_module, "_select", lambda windows, use_numpy: rows.append(len(windows)) or select(windows, use_numpy)
    )
    filtered = median_filter(anomaly_map, 5)
    assert sum(rows) == int(filtered.sum()) < 125


def test_input_is_left_alone() -> None:
    anomaly_map = torch.rand(6, 6, 6)
    before = anomaly_map.clone()
    median_filter(anomaly_map, 1).zero_()
    median_filter(anomaly_map, 3).zero_()
    assert torch.equal(anomaly_map, before)


@pytest.mark.parametrize(
    ("width_mm", "spacing_mm", "voxels"),
    [
        (10, (2, 2, 2), (5, 5, 5)),
        (10, (1, 1, 5), (11, 11, 3)),
        (10, (4, 3.3, 10), (3, 3, 1)),
        (3, (0.6, 1, 2), (5, 3, 1)),
    ],
)
def test_width_in_mm(width_mm: float, spacing_mm: tuple[float, ...], voxels: tuple[int, ...]) -> None:
    assert width_to_voxels(width_mm, spacing_mm) == voxels


@pytest.mark.parametrize("size", [4, 0, -3, (5, 5), (5, 5, 2)])
def test_even_and_odd_numbers_of_sizes_are_refused(size: int | tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="odd window width"):
        median_filter(torch.zeros(5, 5, 5), size)


def test_nan_and_batches_are_refused() -> None:
    with pytest.raises(DataError, match="1 NaN"):
        median_filter(torch.tensor([[[0.0, float("nan")]]]))
    with pytest.raises(DataError, match="case by case"):
        median_filter(torch.zeros(1, 5, 5, 5))
