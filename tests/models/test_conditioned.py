# SPDX-License-Identifier: Apache-2.0
"""Encoder and U-Net together: counts, gradients, frozen statistics, one sample's condition never moves another's."""

import json
from functools import partial

import pytest
import torch
from monai.networks.nets import ResNet
from torch import nn

from custom.core.description import build, describe
from custom.core.errors import ConfigError
from custom.models.conditioned import ConditionedDiffusion
from custom.models.film_unet import FiLMUNet

UNET = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": [32, 32], "num_res_blocks": 1,
        "attention_levels": [False] * 2, "num_head_channels": 32}  # fmt: skip
ENCODER = {"block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [16, 16, 16, 16], "spatial_dims": 2,
           "n_input_channels": 1, "conv1_t_stride": 2, "bias_downsample": False}  # fmt: skip


def _network(encoder_training="finetune", num_classes=6, **encoder):
    torch.manual_seed(0)
    network = ConditionedDiffusion(
        num_classes, partial(ResNet, **ENCODER | encoder), partial(FiLMUNet, **UNET), encoder_training
    )
    nn.init.normal_(network.unet.out[2].conv.weight)  # starts as zeros, which would hide everything
    for name, parameter in network.unet.named_parameters():
        if "conv2" in name:
            nn.init.normal_(parameter, std=0.1)
    return network


def _inputs(batch=3):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, 1, 32, 32, generator=generator),
        torch.arange(batch) * 100,
        torch.rand(batch, 1, 32, 32, generator=generator),
    )


def test_published_number_of_parameters_of_the_encoder():
    with torch.device("meta"):
        encoder = ResNet(
            block="bottleneck", layers=[3, 4, 6, 3], block_inplanes=[64, 128, 256, 512], spatial_dims=2,
            n_input_channels=1, conv1_t_stride=2, bias_downsample=False, num_classes=128,
        )  # fmt: skip
    assert sum(p.numel() for p in encoder.parameters()) == 23_764_032


def test_condition_of_a_sample_moves_that_sample_alone():
    network = _network().eval().double()  # kernels differ in the order of their sums from place to place in a batch
    x, t, image = _inputs()
    x, image = x.double(), image.double()
    before = network(x, t, image)
    image[1] = image[1].flip(-1) * 0.3
    after = network(x, t, image)
    assert torch.allclose(before[[0, 2]], after[[0, 2]], rtol=1e-10)
    assert (before[1] - after[1]).abs().max() > 1e-4
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(network(x[order], t[order], image[order]), after[order], rtol=1e-10)


def test_gradient_reaches_the_first_layer_of_the_encoder():
    network = _network()
    network(*_inputs()).square().mean().backward()
    assert network.encoder.conv1.weight.grad.abs().max() > 0


@pytest.mark.parametrize(("training", "moving"), [("frozen", set()), ("frozen_backbone", {"fc.weight", "fc.bias"})])
def test_frozen_encoder_keeps_weights_and_statistics(training, moving):
    network = _network(training)
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.01)
    for _ in range(3):
        network.train()
        optimizer.zero_grad()
        network(*_inputs()).square().mean().backward()
        optimizer.step()
    changed = {name for name, value in network.encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == moving


def test_fine_tuned_encoder_learns_its_statistics():
    network = _network().train()
    before = network.encoder.bn1.running_mean.clone()
    network(*_inputs())
    assert not torch.equal(before, network.encoder.bn1.running_mean)


def test_encoder_without_last_layer_gives_its_features():
    assert _network("frozen", num_classes=16, feed_forward=False)(*_inputs()).shape == (3, 1, 32, 32)


def test_encoder_of_another_width_and_unknown_modes_are_refused():
    with pytest.raises(ConfigError, match="gives 16 numbers, the U-Net takes 7"):
        _network("frozen", num_classes=7, feed_forward=False)
    with pytest.raises(ConfigError, match="encoder_training must be one of"):
        _network("thawed")
    with pytest.raises(ConfigError, match="it has none"):
        _network("frozen_backbone", num_classes=16, feed_forward=False)


def test_it_is_a_part_of_a_model():
    part = partial(
        ConditionedDiffusion, condition_dim=6, encoder=partial(ResNet, **ENCODER), unet=partial(FiLMUNet, **UNET)
    )
    description = describe(part)
    assert json.loads(json.dumps(description)) == description
    torch.manual_seed(3)
    made = build(description)().state_dict()
    torch.manual_seed(3)
    for name, value in part().state_dict().items():
        assert torch.equal(value, made[name])
