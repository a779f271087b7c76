# SPDX-License-Identifier: Apache-2.0
"""The denoising autoencoder's masked loss: the background of a slice neither costs nor teaches anything."""

import torch

from custom.noise import GaussianNoise
from custom.training.inferer import PlainTrainingInferer
from custom.training.prepare_batch import DenoisingPrepareBatch


def _batch():
    generator = torch.Generator().manual_seed(0)
    mask = (torch.rand(4, 1, 8, 8, generator=generator) > 0.4).byte()
    images = torch.rand(4, 1, 8, 8, generator=generator)
    return {"image": images, "mask": mask, "epoch": torch.ones(4), "position": torch.arange(4)}


def _loss(masked_loss):
    batch = _batch()
    prepare = DenoisingPrepareBatch(GaussianNoise(), masked_loss=masked_loss, seed=1, batch_size=4)
    inputs, target, _, arguments = prepare(batch)
    network = torch.nn.Conv2d(1, 1, 1)
    prediction = PlainTrainingInferer()(inputs, network, **arguments)
    loss = torch.nn.functional.mse_loss(prediction, target)
    return loss, (network(inputs) - target) ** 2, batch["mask"] > 0


def test_loss_is_the_squared_error_of_the_brain_averaged_over_the_whole_slice():
    loss, errors, brain = _loss(masked_loss=True)
    torch.testing.assert_close(loss, errors[brain].sum() / errors.numel())


def test_without_it_the_whole_slice_counts():
    loss, errors, _ = _loss(masked_loss=False)
    torch.testing.assert_close(loss, errors.mean())


def test_nothing_flows_back_from_outside():
    inputs = torch.rand(2, 1, 4, 4)
    region = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    region[..., :2] = True
    scale = torch.nn.Parameter(torch.ones(2, 1, 4, 4))
    network = torch.nn.Module()
    network.forward = lambda x: x * scale
    PlainTrainingInferer()(inputs, network, region=region).sum().backward()
    assert torch.equal(scale.grad != 0, region)
