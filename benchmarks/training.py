# SPDX-License-Identifier: Apache-2.0
"""Training steps against the loop of MONAI's DDPM tutorials (``DiffusionInferer``, ``DDPMScheduler``), same network."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.engines import SupervisedTrainer
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDPMScheduler
from torch import Tensor

from benchmarks.harness import Candidate, Subject
from benchmarks.networks import network, noise, scheduler
from benchmarks.phantoms import head
from custom.training.augmentation import IntensityAugmentation
from custom.training.averaging import AveragedWeights
from custom.training.gradient_clipping import GradientClipping
from custom.training.inferer import DiffusionTrainingInferer
from custom.training.prepare_batch import DiffusionPrepareBatch

LR, STEPS = 1e-4, 1000


def augmentation() -> IntensityAugmentation:
    """Return the augmentation of the main method."""
    return IntensityAugmentation(
        0.5, (-0.3, 0.3), 0.25, 3, 0.5, 0.25, (0.0, 2.0), 2.0, 0.5, (4, 10), (0.5, 1.0), 0.02, False
    )


def batch_of(count: int, shape: tuple[int, int]) -> dict[str, Any]:
    """Return a batch as the loader gives it."""
    image, _, mask, _ = head(0, (*shape, count + 8))
    slices = slice(4, 4 + count)
    return {
        "image": image[:, :, slices].permute(2, 0, 1)[:, None].contiguous(),
        "mask": mask[:, :, slices].permute(2, 0, 1)[:, None].to(torch.uint8).contiguous(),
        "epoch": torch.ones(count, dtype=torch.long),
        "position": torch.arange(count),
        "case_id": [str(number) for number in range(count)],
    }


def our_training(size: str, batch: dict[str, Any], precision: str, steps: int) -> Callable[[], float]:
    """Return a run of ``steps`` steps of the bundle's trainer, with augmentation, noise, clipping and averaging."""
    net = network(size)
    prepare = DiffusionPrepareBatch(noise(), STEPS, seed=0, batch_size=len(batch["image"]), augmentation=augmentation())

    def run() -> float:
        trainer = SupervisedTrainer(
            device=torch.device("cpu"), max_epochs=1, train_data_loader=[batch] * steps, network=net,
            optimizer=torch.optim.Adam(net.parameters(), LR), loss_function=torch.nn.L1Loss(), prepare_batch=prepare,
            inferer=DiffusionTrainingInferer(scheduler=scheduler(), precision=precision),
            train_handlers=[GradientClipping(1.0), AveragedWeights(net, 0.999)], decollate=False, optim_set_to_none=True,
        )  # fmt: skip
        trainer.run()
        return float(trainer.state.output["loss"])

    return run


def tutorial_loop(size: str, batch: dict[str, Any], steps: int) -> Callable[[], float]:
    """Return the plain loop: Gaussian noise, epsilon prediction, no augmentation."""
    net = network(size)
    inferer = DiffusionInferer(DDPMScheduler(num_train_timesteps=STEPS))

    def run() -> float:
        optimizer = torch.optim.Adam(net.parameters(), LR)
        net.train()
        loss = torch.zeros(())
        for _ in range(steps):
            images = batch["image"]
            optimizer.zero_grad(set_to_none=True)
            drawn = torch.randn_like(images)
            timesteps = torch.randint(0, STEPS, (len(images),))
            predicted = inferer(inputs=images, diffusion_model=net, noise=drawn, timesteps=timesteps)
            loss = F.mse_loss(predicted.float(), drawn.float())
            loss.backward()
            optimizer.step()
        return float(loss)

    return run


@torch.no_grad()
def largest_difference_for_equal_draws(size: str, batch: dict[str, Any]) -> float:
    """Return how far the two inferers' predictions lie apart for the same images, noise and timesteps."""
    net = network(size).eval()
    images = batch["image"] * 2 - 1
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(images.shape, generator=generator)
    timesteps = torch.randint(0, STEPS, (len(images),), generator=generator)
    ours: Tensor = DiffusionTrainingInferer(scheduler=scheduler("linear_beta"))(images, net, drawn, timesteps)
    peer: Tensor = DiffusionInferer(DDPMScheduler(STEPS, "linear_beta"))(images, net, drawn, timesteps)
    return float((ours - peer).abs().max() / ours.abs().max())


def subjects(
    size: str = "small", count: int = 16, shape: tuple[int, int] = (96, 96), steps: int = 2
) -> Sequence[Subject]:
    """Return ``steps`` training steps of a batch of ``count``."""
    batch = batch_of(count, shape)
    difference = largest_difference_for_equal_draws(size, batch)
    return [
        Subject(
            f"{steps} training steps of {count} slices, {size} network",
            [
                Candidate("ours, fp32: augmentation, simplex noise, clipping, averaging", our_training(size, batch, "fp32", steps)),
                Candidate(
                    "MONAI tutorial loop: Gaussian noise, no augmentation", tutorial_loop(size, batch, steps),
                    lambda *_: difference, 1e-5, "same prediction for equal draws (linear_beta), relative",
                ),
                Candidate("ours, bf16", our_training(size, batch, "bf16", steps)),
            ],
            2,
            "everything but the network at most 3 % of a step",
        )
    ]  # fmt: skip
