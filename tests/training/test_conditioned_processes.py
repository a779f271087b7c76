# SPDX-License-Identifier: Apache-2.0
"""Two gloo processes train a conditioned network as one does, the running statistics of its encoder included."""

import os
import socket
from functools import partial

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from monai.networks.nets import ResNet

from custom.models.conditioned import ConditionedDiffusion
from custom.models.film_unet import FiLMUNet
from custom.training import distributed

TRAININGS = ("finetune", "frozen")


def _network(encoder_training):
    torch.manual_seed(0)
    encoder = partial(
        ResNet, "basic", [1, 1, 1, 1], [16, 16, 16, 16], spatial_dims=2, n_input_channels=1, conv1_t_stride=2
    )
    unet = partial(
        FiLMUNet, spatial_dims=2, in_channels=1, out_channels=1, channels=[8, 8], num_res_blocks=1, norm_num_groups=4,
        attention_levels=[False, False], num_head_channels=8,
    )  # fmt: skip
    network = ConditionedDiffusion(6, encoder, unet, encoder_training)
    for name, parameter in network.unet.named_parameters():
        if "conv2" in name or name.startswith("out."):  # zeros at first: the condition would have no effect
            torch.nn.init.normal_(parameter, std=0.2)
    return network


def _trained(network, rank=0, world_size=1):
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.05)
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        image = torch.rand(4, 1, 32, 32, generator=generator) * torch.arange(1, 5)[:, None, None, None] / 4
        noisy, steps = torch.randn(4, 1, 32, 32, generator=generator), torch.tensor([10, 300, 600, 900])
        rows = slice(rank, None, world_size)
        optimizer.zero_grad()
        (network(noisy[rows], steps[rows], image[rows]) - image[rows]).abs().mean().backward()
        optimizer.step()


def _process(rank, port, folder):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for encoder_training in TRAININGS:
        network = _network(encoder_training)
        _trained(distributed.wrapped(network, torch.device("cpu")), rank, 2)
        torch.save(network.state_dict(), f"{folder}/{encoder_training}_{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_process, (port, str(tmp_path)), nprocs=2)
    for encoder_training in TRAININGS:
        network = _network(encoder_training)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        _trained(network)
        changed = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
        assert any(name.startswith("unet.") for name in changed)
        assert any(name.startswith("encoder.") for name in changed) == (encoder_training == "finetune")
        for rank in range(2):
            found = torch.load(tmp_path / f"{encoder_training}_{rank}.pt", weights_only=True)
            for name, value in network.state_dict().items():
                torch.testing.assert_close(
                    found[name], value, rtol=1e-4, atol=2e-5, msg=lambda text, n=name: f"{n}: {text}"
                )
