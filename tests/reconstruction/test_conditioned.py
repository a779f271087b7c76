# SPDX-License-Identifier: Apache-2.0
"""The condition reaches the network in every kind of reconstruction and in training: the right slice, in [0, 1]."""

from functools import partial

import pytest
import torch
from monai.networks.nets import ResNet

from custom.models.conditioned import ConditionedDiffusion
from custom.models.film_unet import FiLMUNet
from custom.models.noise_scheduler import NoiseDDPMScheduler
from custom.noise import GaussianNoise, GridPatches
from custom.reconstruction.partial_diffusion import PartialDiffusionInferer
from custom.training.inferer import DiffusionTrainingInferer
from custom.training.prepare_batch import DiffusionPrepareBatch

SCHEDULER = NoiseDDPMScheduler(GaussianNoise(), 1000, "cosine_float64", "sample")
KINDS = {
    "one step": {"test_timesteps": 500},
    "three t": {"test_timesteps": [250, 500, 750]},
    "draws": {"test_timesteps": 500, "draws": 2},
    "chain": {"test_timesteps": 500, "chain_steps": 3},
    "patched": {"test_timesteps": 500, "patches": GridPatches(8)},
    "overlapping patches": {"test_timesteps": [250, 750], "patches": GridPatches(8, 4)},
}


def _inferer(slice_batch_size=4, **kind):
    return PartialDiffusionInferer(
        SCHEDULER, GaussianNoise(), seed=7, slice_batch_size=slice_batch_size, conditioned=True, **kind
    )


@pytest.fixture
def volumes():
    return torch.rand(2, 1, 16, 16, 6, generator=torch.Generator().manual_seed(0))


class _ReturnsItsCondition(torch.nn.Module):
    def forward(self, x, timesteps, image):
        assert image.shape == x.shape
        assert image.min() >= 0
        assert image.max() <= 1
        return image * 2 - 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slice_batch_size", [1, 4, 64])
def test_network_that_returns_its_condition_gives_the_image_back(kind, slice_batch_size, volumes):
    found = _inferer(slice_batch_size, **KINDS[kind])(volumes, _ReturnsItsCondition(), ["a", "b"])
    torch.testing.assert_close(found, volumes)


def _network():
    torch.manual_seed(0)
    encoder = partial(
        ResNet, "basic", [1, 1, 1, 1], [16, 16, 16, 16], spatial_dims=2, n_input_channels=1, conv1_t_stride=2
    )
    unet = partial(
        FiLMUNet, spatial_dims=2, in_channels=1, out_channels=1, channels=[8, 8], num_res_blocks=1, norm_num_groups=4,
        attention_levels=[False, False], num_head_channels=8,
    )  # fmt: skip
    network = ConditionedDiffusion(6, encoder, unet)
    for name, parameter in network.unet.named_parameters():
        if "conv2" in name or name.startswith("out."):  # zeros at first
            torch.nn.init.normal_(parameter, std=0.2)
    for _ in range(30):  # running statistics
        network.encoder(torch.rand(8, 1, 16, 16))
    return network.eval()


class _Shuffled(torch.nn.Module):
    """Gives each slice the condition of another one."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, timesteps, image):
        return self.network(x, timesteps, image.flip(0))


def _change(network, volumes, kind="one step"):
    """How much a reconstruction changes when the conditions are shuffled."""
    inferer = _inferer(64, **KINDS[kind])
    before, after = (inferer(volumes, n, ["a", "b"]) for n in (network, _Shuffled(network)))
    return (before - after).abs().max().item()


@pytest.mark.parametrize("kind", KINDS)
def test_shuffled_conditions_change_the_map(kind, volumes):
    assert _change(_network(), volumes, kind) > 1e-3


def test_network_that_ignores_its_condition_is_seen(volumes):
    network = _network()
    with torch.no_grad():
        network.unet.class_embedding[2].weight.zero_()  # the last layer between condition and U-Net
    assert _change(network, volumes) == 0


def test_batches_of_slices_change_nothing(volumes):
    network = _network()
    maps = [_inferer(size, test_timesteps=500)(volumes, network, ["a", "b"]) for size in (1, 4, 64)]
    for other in maps[1:]:
        torch.testing.assert_close(maps[0], other, rtol=1e-5, atol=1e-5)


def test_several_t_are_the_mean_of_reconstructions(volumes):
    network = _network()
    single = [_inferer(test_timesteps=t)(volumes, network, ["a", "b"]) for t in (250, 500, 750)]
    torch.testing.assert_close(
        _inferer(test_timesteps=[250, 500, 750])(volumes, network, ["a", "b"]), torch.stack(single).mean(0)
    )


def test_training_hands_over_the_augmented_clean_slices():
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    prepare = DiffusionPrepareBatch(
        GaussianNoise(), 1000, conditioned=True, seed=1, batch_size=4, augmentation=lambda i, m, g: 0.5 * i
    )
    batch = {"image": images, "mask": torch.ones_like(images), "position": torch.arange(4), "epoch": torch.ones(4)}
    inputs, target, _, arguments = prepare(batch)
    assert torch.equal(arguments["image"], 0.5 * images)
    torch.testing.assert_close(inputs, images - 1)
    assert torch.equal(target, inputs)
    for region in ({}, {"region": torch.ones_like(images, dtype=torch.bool)}):
        prediction = DiffusionTrainingInferer(SCHEDULER)(inputs, _ReturnsItsCondition(), **arguments, **region)
        torch.testing.assert_close(prediction, inputs)
