# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from custom.noise import GaussianNoise


def test_is_standard_normal_and_fixed_by_the_generator() -> None:
    like = torch.empty(8, 1, 96, 64, dtype=torch.float16)
    noise = GaussianNoise()(like, torch.Generator().manual_seed(4))
    assert torch.equal(noise, torch.randn(8, 1, 96, 64, generator=torch.Generator().manual_seed(4)))
    assert noise.dtype == torch.float32
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    # the share beyond two standard deviations tells a normal from other laws of variance 1
    assert (noise.abs() > 2).float().mean().item() == pytest.approx(0.0455, abs=0.005)


def test_without_generator_the_global_one_is_used() -> None:
    torch.manual_seed(9)
    first = GaussianNoise()(torch.empty(1, 1, 4, 4))
    torch.manual_seed(9)
    assert torch.equal(first, GaussianNoise()(torch.empty(1, 1, 4, 4)))
