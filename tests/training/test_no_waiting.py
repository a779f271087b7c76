# SPDX-License-Identifier: Apache-2.0
"""A training step gives the GPU its work without ever waiting for it; proven on a pretended one."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.training import augmentation
from custom.models.noise_scheduler import NoiseDDPMScheduler
from custom.noise import CoarseNoise, GaussianNoise, GridPatches, SimplexNoise
from custom.training.averaging import AveragedWeights
from custom.training.inferer import DiffusionTrainingInferer
from custom.training.prepare_batch import DenoisingPrepareBatch, DiffusionPrepareBatch
from tests.oracles.pretended_gpu import OnGPU, Waits, pretended_gpu

SIMPLEX = SimplexNoise(3, 0.8, 16, normalize=True, per_sample=True, random_origin=True)
PUBLISHED = SimplexNoise(3, 0.8, 16, normalize=False, per_sample=False, random_origin=False)
CUDA = torch.device("cuda:0")


@pytest.fixture(autouse=True)
def _without_a_real_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is a real GPU: torch.cuda.set_sync_debug_mode tells more")


def _batch(rows):
    images = torch.rand(len(rows), 1, 24, 24, generator=torch.Generator().manual_seed(0))
    numbers = {"epoch": torch.ones(len(rows), dtype=torch.long), "position": torch.tensor(rows)}
    return {"image": images, "mask": (images > 0.2).to(torch.uint8)} | numbers


def _on_gpu(batch):
    return {key: OnGPU(value) if key in ("image", "mask") else value for key, value in batch.items()}


def _step(prepare, batch, device, scheduler, network):
    images, target, _, arguments = prepare(batch, device)
    if "timesteps" in arguments:
        prediction = DiffusionTrainingInferer(scheduler=scheduler)(images, network, **arguments)
    else:
        prediction = images
    return (prediction - target).abs().mean()


@pytest.mark.parametrize("rows", [list(range(8)), [1, 3, 5, 7]], ids=["one process", "one of two"])
@pytest.mark.parametrize(
    "prepare",
    [
        DiffusionPrepareBatch(SIMPLEX, 1000, seed=1, batch_size=8, augmentation=augmentation()),
        DiffusionPrepareBatch(PUBLISHED, 1000, seed=1, batch_size=8),
        DiffusionPrepareBatch(GaussianNoise(), 1000, patches=GridPatches(12), seed=1, batch_size=8),
        DenoisingPrepareBatch(CoarseNoise(0.2, 6, True, False), masked_loss=True, seed=1, batch_size=8),
    ],
    ids=["simplex, augmented", "published simplex", "gaussian, patches", "coarse"],
)
def test_a_step_never_waits_and_gives_the_same_loss(prepare, rows):
    def network(x, timesteps):
        return 0.5 * x + 0.1

    scheduler = NoiseDDPMScheduler(SIMPLEX, 1000, "cosine_float64", "sample")
    expected = _step(prepare, _batch(rows), torch.device("cpu"), scheduler, network)
    with pretended_gpu(may_wait=True):  # tables are built on first use
        _step(prepare, _on_gpu(_batch(rows)), CUDA, scheduler, network)
    with pretended_gpu():
        found = _step(prepare, _on_gpu(_batch(rows)), CUDA, scheduler, network)
    assert torch.equal(found.own, expected)


def test_averaging_does_not_wait():
    network = nn.Linear(3, 2)
    average = AveragedWeights(network, 0.9)
    with torch.no_grad():
        network.weight += 1
    state = network.state_dict()
    with pretended_gpu():
        average.average = {key: OnGPU(value) for key, value in average.average.items()}
        average.network = type("Network", (), {"state_dict": lambda _: {k: OnGPU(v) for k, v in state.items()}})()
        average.update()
        assert not torch.equal(average.average["weight"].own, state["weight"])


@pytest.mark.parametrize(
    "code",
    [
        lambda x: float(x.sum()), lambda x: bool((x > 0).any()), lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: x.cpu(), lambda x: x.to("cpu"),
        lambda x: x + torch.ones(2).to(x.device), lambda x: x + torch.ones(2).to(x.device, non_blocking=True),
        lambda x: x[torch.tensor([0])],
    ],
)  # fmt: skip
def test_the_pretended_gpu_notices_what_waits(code):
    with pretended_gpu(), pytest.raises(Waits):
        code(OnGPU(torch.rand(2)))


@pytest.mark.parametrize("file", ["custom/configs/training.json", "bundles/restoration/configs/train.json"])
def test_the_loss_is_looked_at_rarely_on_a_gpu(file):
    root = Path(__file__).resolve().parents[2]
    (checkpoint,) = re.findall(r'"check_every": "\$([^"]+)"', (root / file).read_text())
    every = {
        (device, precision): eval(
            checkpoint.replace("@device", "device").replace("@precision", "precision").replace("@loss_interval", "20"),
            {"device": torch.device(device), "precision": precision},
        )
        for device in ("cpu", "cuda")
        for precision in ("bf16", "fp16")
    }
    assert every == {("cpu", "bf16"): 1, ("cpu", "fp16"): 1, ("cuda", "bf16"): 20, ("cuda", "fp16"): 1}
