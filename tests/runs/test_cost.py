# SPDX-License-Identifier: Apache-2.0
"""The memory of a training is known before it is taken, and nothing changes by asking."""

import pytest
import torch
from monai.networks.nets import DiffusionModelUNet
from torch import nn

from custom.core.errors import ResourceError
from custom.runs import cost


def _really_kept(network: nn.Module, *inputs: torch.Tensor) -> int:
    kept = {}
    weights = {value.untyped_storage().data_ptr() for value in network.parameters()}

    def count(value):
        kept[id(value)] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
        network(*inputs)
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in kept.values()}
    return sum(size for place, size in storages.items() if place not in weights)


def _network() -> DiffusionModelUNet:
    return DiffusionModelUNet(2, 1, 1, (1, 1), (32, 64), (False, True), num_head_channels=32)


def test_what_is_kept_is_counted_without_a_forward_pass():
    network, inputs = _network(), (torch.rand(3, 1, 16, 24), torch.tensor([1, 2, 3]))
    counted = cost.kept_bytes(network, inputs, {})
    assert counted == pytest.approx(_really_kept(network, *inputs), rel=0.1)


def test_it_grows_with_the_batch():
    network = _network()
    one, two, four = (
        cost.kept_bytes(network, (torch.rand(n, 1, 16, 16),), {"timesteps": torch.ones(n)}) for n in (1, 2, 4)
    )
    assert four - two == pytest.approx(2 * (two - one), rel=0.1)
    assert two - one > one / 2


def test_asking_changes_neither_weights_nor_statistics_nor_generators():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    cost.kept_bytes(network, [torch.rand(2, 1, 8, 8)], {})
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    drawn = torch.get_rng_state()
    torch.set_rng_state(state)
    torch.rand(2, 1, 8, 8)
    assert torch.equal(drawn, torch.get_rng_state())


def test_said_once_and_only_once():
    said: list[str] = []
    network = nn.Linear(4, 4)
    cost.announce(network, said.append)
    for _ in range(2):
        network(torch.zeros(2, 4))
    assert len(said) == 1
    assert "a step of 2 slices needs about" in said[0]


def test_more_than_there_is_is_refused_with_a_batch_that_fits(monkeypatch):
    network = nn.Sequential(nn.Linear(1000, 1000), nn.ReLU())
    inputs = torch.zeros(100, 1000)
    free = 5 * 4 * sum(p.numel() for p in network.parameters()) + cost.kept_bytes(network, [inputs], {}) // 2
    monkeypatch.setattr(cost, "available_bytes", lambda device: free)
    cost.announce(network, lambda text: None)
    with pytest.raises(ResourceError, match=r"take --batch_size 4\d, or a smaller network"):
        network(inputs)


def test_a_network_that_cannot_be_asked_is_trained_all_the_same():
    class Odd(nn.Module):
        def forward(self, value):
            return value * float(value.sum())  # needs data

    said: list[str] = []
    network = Odd()
    cost.announce(network, said.append)
    network(torch.ones(2))
    assert said == ["training: 0.0 million parameters on cpu"]
