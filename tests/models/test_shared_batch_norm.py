# SPDX-License-Identifier: Apache-2.0
"""Two processes with half of a batch each normalise, learn and remember as one process with all of it."""

import copy
import os
import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from custom.models.masked_resnet import masked_norm
from custom.models.shared_batch_norm import SharedBatchNorm2d, with_shared_batch_norm


def _network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2, momentum=None)
    )


def _images():
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)) + torch.arange(6.0)[:, None, None, None]


def _step(network, images):
    images = images.clone().requires_grad_()
    output = network(images)
    (output**3).mean().backward()
    return output.detach(), images.grad


def _process(rank, port, results):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    network = with_shared_batch_norm(_network())
    output, gradient = _step(network, _images()[rank::2])
    gradients = [p.grad for p in network.parameters()]
    for value in gradients:
        dist.all_reduce(value)
        value /= 2
    active = torch.zeros(3, 1, 2, 2, dtype=torch.bool)
    active[:, :, 0, rank] = True
    norm = SharedBatchNorm2d(1)
    masked = masked_norm(norm, _images()[rank::2], active)
    results[rank] = (output, gradient, gradients, network.state_dict(), masked.detach(), norm.running_var)
    dist.destroy_process_group()


def test_two_processes_equal_one():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_process, (port, results), nprocs=2)
        found = [results[rank] for rank in range(2)]
    network = _network()
    output, gradient = _step(network, _images())
    for rank, (own, own_gradient, gradients, state, *_) in enumerate(found):
        torch.testing.assert_close(own, output[rank::2], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            own_gradient / 2, gradient[rank::2], rtol=1e-4, atol=1e-6
        )  # each has a mean over its half
        for value, expected in zip(gradients, network.parameters(), strict=True):
            torch.testing.assert_close(value, expected.grad, rtol=1e-4, atol=1e-6)
        for name, value in network.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-6)
    whole = torch.zeros(6, 1, 2, 2, dtype=torch.bool)
    whole[0::2, :, 0, 0], whole[1::2, :, 0, 1] = True, True
    norm = nn.BatchNorm2d(1)
    masked = masked_norm(norm, _images(), whole).detach()
    for rank, (*_, own, variance) in enumerate(found):
        torch.testing.assert_close(own, masked[rank::2], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(variance, norm.running_var)


def test_alone_it_is_the_ordinary_one():
    network = _network()
    shared = with_shared_batch_norm(copy.deepcopy(network))
    assert sum(isinstance(m, SharedBatchNorm2d) for m in shared.modules()) == 2
    assert torch.equal(_step(network, _images())[0], _step(shared, _images())[0])
    assert network.state_dict().keys() == shared.state_dict().keys()
    assert torch.equal(network.eval()(_images()), shared.eval()(_images()))
