# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from custom.core.errors import ConfigError
from custom.models.noise_scheduler import NoiseDDPMScheduler
from custom.noise import GaussianNoise
from custom.training.inferer import DiffusionTrainingInferer, PlainTrainingInferer

SCHEDULER = NoiseDDPMScheduler(GaussianNoise(), 1000, "cosine_float64", "sample")


class _Echo(torch.nn.Module):
    def forward(self, x, timesteps):
        self.seen = x
        return x * 0 + timesteps[:, None, None, None]


def _arguments():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1, 4, 4, generator=generator) * 2 - 1
    return images, torch.randn(2, 1, 4, 4, generator=generator), torch.tensor([499, 99])


def test_network_sees_the_noised_slices():
    images, noise, timesteps = _arguments()
    echo = _Echo()
    output = DiffusionTrainingInferer(SCHEDULER)(images, echo, noise, timesteps)
    torch.testing.assert_close(echo.seen[0], 0.702740 * images[0] + 0.711447 * noise[0], rtol=0, atol=1e-5)
    assert output[1].unique().tolist() == [99]


def test_region_limits_noise_and_loss():
    images, noise, timesteps = _arguments()
    region = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    region[..., :2, :2] = True
    echo = _Echo()
    output = DiffusionTrainingInferer(SCHEDULER)(images, echo, noise, timesteps, region=region)
    assert torch.equal(echo.seen[~region], images[~region])
    assert torch.equal(output[~region], images[~region])
    assert output[0][region[0]].unique().tolist() == [499]


def test_a_region_leaves_no_constant_in_the_loss_of_noise_prediction():
    """A perfect network inside the region has loss 0, although it was trained to predict the noise."""
    images, noise, timesteps = _arguments()
    region = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    region[..., :2, :2] = True
    scheduler = NoiseDDPMScheduler(GaussianNoise(), 1000, "cosine_float64", "epsilon")
    output = DiffusionTrainingInferer(scheduler)(
        images, lambda x, timesteps: torch.where(region, noise, 7.0), noise, timesteps, region=region
    )
    assert torch.equal(output, noise)


def test_bfloat16_runs_in_bfloat16_and_returns_float32():
    seen = {}
    network = torch.nn.Conv2d(1, 1, 1)
    network.register_forward_hook(lambda module, inputs, output: seen.update(dtype=output.dtype))
    output = PlainTrainingInferer("bf16")(torch.rand(1, 1, 4, 4), network)
    assert seen["dtype"] == torch.bfloat16
    assert output.dtype == torch.float32
    with pytest.raises(ConfigError, match="fp32, bf16, fp16"):
        PlainTrainingInferer("int8")
