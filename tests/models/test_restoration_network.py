# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from custom.core.errors import ConfigError
from custom.models.restoration_network import RestorationNetwork

SMALL = {"volume_shape": (32, 48, 5), "channels": (8, 16, 16), "groups": 4}


def _inputs(channels=3):
    generator = torch.Generator().manual_seed(0)
    slabs = torch.rand(2, channels, 32, 48, generator=generator)
    return slabs, torch.tensor([0.4, 0.9]), torch.tensor([1, 4])


def _network(**settings):
    torch.manual_seed(0)
    return RestorationNetwork(**SMALL, **settings).eval()


def test_shape_and_size():
    assert _network()(*_inputs()).shape == (2, 2, 32, 48)
    assert sum(p.numel() for p in RestorationNetwork((96, 96, 50)).parameters()) == 1_277_192


@pytest.mark.parametrize("part", ["severity", "healthy_mean", "mirrored"])
def test_every_input_matters_and_can_be_switched_off(part):
    def outputs(network):
        slabs, severity, heights = _inputs()
        before = network(slabs, severity, heights)
        if part == "severity":
            return before, network(slabs, severity * 0.5, heights)
        if part == "healthy_mean":
            return before, network.with_healthy_mean(torch.rand(32, 48, 5))(slabs, severity, heights)
        return before, network(slabs.flip(2), severity, heights).flip(2)

    with torch.no_grad():
        before, after = outputs(_network())
        assert not torch.allclose(before, after)
        if part != "mirrored":  # a network without it is not symmetric either
            before, after = outputs(_network(**{f"use_{part}": False}))
            assert torch.equal(before, after)


def test_the_healthy_mean_of_the_slice_is_taken_and_saved_with_the_weights():
    network = _network()
    slabs, severity, heights = _inputs()
    mean = torch.zeros(32, 48, 5)
    mean[..., 4] = 1.0
    with torch.no_grad():
        before = network(slabs, severity, heights)
        after = network.with_healthy_mean(mean)(slabs, severity, heights)
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])
    assert torch.equal(network.state_dict()["healthy_mean"], mean)


def test_wrong_inputs_are_refused():
    with pytest.raises(ConfigError, match="slabs of 3 slices"):
        _network()(*_inputs(channels=1))
    with pytest.raises(ConfigError, match="multiples of 8"):
        _network()(torch.zeros(1, 3, 36, 48), torch.ones(1), torch.zeros(1, dtype=torch.long))
    for channels in ((8, 16), (8, 16, 18)):
        with pytest.raises(ConfigError, match="three or more levels"):
            RestorationNetwork((32, 48, 5), channels, groups=4)
    with pytest.raises(ConfigError, match="the healthy mean has"):
        _network().with_healthy_mean(torch.zeros(4, 4, 4))


def test_every_weight_is_saved_once_and_loaded_everywhere():
    network, other = _network(), _network()
    state = network.state_dict()
    assert sum(value.numel() for value in state.values()) == 32 * 48 * 5 + sum(p.numel() for p in network.parameters())
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    other.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(other(*_inputs()), network(*_inputs()))
    assert set(state) == set(other.state_dict())
