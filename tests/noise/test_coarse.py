# SPDX-License-Identifier: Apache-2.0
"""Coarse noise against a rolled interpolation written out with NumPy."""

import numpy as np
import pytest
import torch

from custom.noise import CoarseNoise


def _enlarge(coarse: np.ndarray, size: int, align_corners: bool) -> np.ndarray:
    """Bilinear enlargement along both axes as two interpolation matrices, from the definition."""
    nodes = len(coarse)
    if align_corners:
        place = np.arange(size) * (nodes - 1) / (size - 1)
    else:
        place = np.clip((np.arange(size) + 0.5) * nodes / size - 0.5, 0, nodes - 1)
    matrix = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(nodes)))
    return matrix @ coarse @ matrix.T


def _draws(batch: int, shifts: int, sigma: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    source = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, 1, 16, 16, generator=source) * sigma
    return coarse[:, 0].double().numpy(), (torch.rand(shifts, 2, generator=source) * 96).long().numpy()


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("roll_per_sample", [True, False])
def test_is_rolled_bilinear_noise(align_corners: bool, roll_per_sample: bool) -> None:
    noise = CoarseNoise(0.2, 16, align_corners, roll_per_sample)
    result = noise(torch.empty(4, 1, 96, 96), torch.Generator().manual_seed(1))[:, 0].numpy()
    coarse, shifts = _draws(4, 4 if roll_per_sample else 1, 0.2, 1)
    for i in range(4):
        shift = shifts[i if roll_per_sample else 0]
        np.testing.assert_allclose(result[i], np.roll(_enlarge(coarse[i], 96, align_corners), shift, (0, 1)), atol=1e-5)


def test_published_choice_shares_the_roll_and_the_option_does_not() -> None:
    _, shifts = _draws(64, 64, 0.2, 2)
    assert len({tuple(shift) for shift in shifts}) > 50
    assert shifts.min() >= 0
    assert shifts.max() <= 95


def test_size_type_and_strength() -> None:
    like = torch.empty(200, 1, 64, 96, dtype=torch.float16)
    noise = CoarseNoise(0.2, 16, True, False)(like, torch.Generator().manual_seed(3))
    assert noise.shape == like.shape
    assert noise.dtype == torch.float32
    # Bilinear weights at a place u between two nodes keep the variance times u² + (1-u)², 2/3 on average per axis.
    assert noise.std().item() == pytest.approx(0.2 * 2 / 3, rel=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_same_noise_on_a_gpu_for_a_cpu_generator() -> None:
    noise = CoarseNoise(0.2, 16, True, True)
    host = noise(torch.empty(4, 1, 96, 96), torch.Generator().manual_seed(1))
    device = noise(torch.empty(4, 1, 96, 96, device="cuda"), torch.Generator().manual_seed(1))
    torch.testing.assert_close(device.cpu(), host, rtol=0, atol=1e-5)
