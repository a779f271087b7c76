# SPDX-License-Identifier: Apache-2.0
"""The papers' U-Net: an independent functional block, the published numbers of parameters, who sees which embedding."""

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets import DiffusionModelUNet
from torch import nn

from custom.core.errors import ConfigError
from custom.models.film_unet import FiLMResnetBlock, FiLMUNet

FULL = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": [128, 256, 256], "num_res_blocks": 3,
        "attention_levels": [False] * 3, "num_head_channels": 64, "resblock_updown": True, "norm_eps": 1e-5}  # fmt: skip
TINY = FULL | {"channels": [32, 64], "num_res_blocks": 1, "attention_levels": [False] * 2, "num_head_channels": 32}


def _randomised(network: nn.Module) -> nn.Module:
    """No zero-initialised layer hides the rest."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network


@pytest.mark.parametrize("move", ["plain", "up", "down"])
def test_block_is_the_formula(move):
    block = _randomised(
        FiLMResnetBlock(
            spatial_dims=2, in_channels=32, out_channels=64, temb_channels=10, up=move == "up", down=move == "down",
            norm_num_groups=16, norm_eps=1e-5,
        )
    )  # fmt: skip
    p = dict(block.named_parameters())
    x, e = torch.randn(3, 32, 8, 8), torch.randn(3, 10)
    moved = {
        "plain": lambda t: t,
        "up": lambda t: t.repeat_interleave(2, 2).repeat_interleave(2, 3),
        "down": lambda t: F.avg_pool2d(t, 2),
    }[move]
    h = moved(F.silu(F.group_norm(x, 16, p["norm1.weight"], p["norm1.bias"], 1e-5)))
    h = F.conv2d(h, p["conv1.conv.weight"], p["conv1.conv.bias"], padding=1)
    h = F.group_norm(h, 16, p["norm2.weight"], p["norm2.bias"], 1e-5)
    projected = F.silu(e) @ p["time_emb_proj.weight"].T + p["time_emb_proj.bias"]
    gamma, beta = projected[:, :64, None, None], projected[:, 64:, None, None]
    h = F.conv2d(F.silu(h * (1 + gamma) + beta), p["conv2.conv.weight"], p["conv2.conv.bias"], padding=1)
    expected = h + F.conv2d(moved(x), p["skip_connection.conv.weight"], p["skip_connection.conv.bias"])
    torch.testing.assert_close(block(x, e), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("condition_dim", "parameters"), [(None, 37_513_857), (128, 43_871_873), (512, 44_068_481)])
def test_published_number_of_parameters(condition_dim, parameters):
    with torch.device("meta"):
        network = FiLMUNet(condition_dim=condition_dim, **FULL)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert sum(isinstance(m, FiLMResnetBlock) for m in network.modules()) == 27


def test_forward_is_the_stock_one():
    assert FiLMUNet.forward is DiffusionModelUNet.forward


def test_halves_of_the_embedding_belong_to_timestep_and_condition():
    network = FiLMUNet(condition_dim=8, **TINY)
    seen = []
    (block, *_) = (m for m in network.modules() if isinstance(m, FiLMResnetBlock))
    block.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[1]))
    x, c = torch.randn(2, 1, 8, 8), torch.randn(2, 8)
    network(x, torch.tensor([3, 3]), class_labels=c)
    network(x, torch.tensor([3, 3]), class_labels=c + 1)
    network(x, torch.tensor([700, 700]), class_labels=c)
    first, other_condition, other_timestep = seen
    assert first.shape == (2, 256)
    assert torch.equal(first[:, :128], other_condition[:, :128])
    assert not torch.allclose(first[:, 128:], other_condition[:, 128:])
    assert torch.equal(first[:, 128:], other_timestep[:, 128:])
    assert not torch.allclose(first[:, :128], other_timestep[:, :128])


def test_untrained_network_returns_zero_and_a_trained_one_uses_the_condition():
    network = FiLMUNet(condition_dim=8, **TINY)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 400])
    assert not network(x, t, class_labels=torch.randn(2, 8)).any()
    _randomised(network)
    one, two = (network(x, t, class_labels=c) for c in torch.randn(2, 2, 8))
    assert (one - two).abs().max() > 1e-4


@pytest.mark.parametrize("wrong", [{"condition_dim": 0}, {"num_class_embeds": 3}])
def test_wrong_condition_is_refused(wrong):
    with pytest.raises(ConfigError, match="condition_dim"):
        FiLMUNet(**TINY, **wrong)
