# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from custom.training.averaging import AveragedWeights


def test_average_follows_the_formula():
    network = torch.nn.Linear(1, 1, bias=False)
    average = AveragedWeights(network, 0.5)
    expected = network.weight.item()
    for step in range(1, 6):
        with torch.no_grad():
            network.weight += 1.0
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network.weight.item()
        average.update()
        assert average.average["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_swapping_in_and_out_leaves_the_network_as_it_was():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    average = AveragedWeights(network, 0.9)
    with torch.no_grad():
        network[0].weight.fill_(7.0)
    with average.swapped_in():
        assert network[0].weight.item() != 7.0
    assert network[0].weight.item() == 7.0
    with pytest.raises(RuntimeError), average.swapped_in():
        raise RuntimeError
    assert network[0].weight.item() == 7.0


def test_integer_buffers_are_copied():
    network = torch.nn.BatchNorm2d(1)
    average = AveragedWeights(network, 0.9)
    network.num_batches_tracked += 5
    average.update()
    assert average.average["num_batches_tracked"].item() == 5


def test_state_round_trip():
    network = torch.nn.Linear(2, 2)
    average = AveragedWeights(network, 0.9)
    average.update()
    other = AveragedWeights(torch.nn.Linear(2, 2), 0.9)
    other.load_state_dict(average.state_dict())
    assert other.steps == 1
    assert torch.equal(other.average["weight"], average.average["weight"])
    with pytest.raises(ValueError, match="another network"):
        other.load_state_dict({"steps": 1, "average": {"x": torch.zeros(1)}})
