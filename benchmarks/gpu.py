# SPDX-License-Identifier: Apache-2.0
"""Training and test pass on a GPU: achieved TFLOP/s against the card's measured matrix rate, and where the time goes.

``python benchmarks/gpu.py [--network full] [--batch 32]``; ``--smoke`` runs the same code on a CPU with a tiny network,
which shows that it works and measures nothing. The training set is one compact array on the device; a step draws a batch
from it, augments, makes noise, and trains. FLOPs are counted by torch on the network's own operations.
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks import network, noise, scheduler
from benchmarks.phantoms import WORKING_GRID, head
from benchmarks.training import augmentation
from custom.metrics import ScoreHistogram
from custom.models.precision import Precision
from custom.postprocessing import in_mm
from custom.scoring import SSIMEnsemble
from custom.training.averaging import AveragedWeights

FULL_SCHEDULE_STEPS = 19_200  # 1,600 epochs of 12 batches
SIGMAS = [0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7]


class Clock:
    """Time a function: device events on a GPU, the wall clock elsewhere; the median over repetitions."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device, self.repeats = device, repeats

    def __call__(self, function: Callable[[], Any]) -> float:
        """Return seconds per call, after two untimed calls."""
        for _ in range(2):
            function()
        seconds = []
        for _ in range(self.repeats):
            self._wait()
            start = time.perf_counter()
            function()
            self._wait()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def matrix_rate(clock: Clock, dtype: torch.dtype, size: int) -> float:
    """Return the measured FLOP/s of a square matrix product."""
    a, b = (torch.randn(size, size, device=clock.device).to(dtype) for _ in range(2))
    return 2 * size**3 / clock(lambda: a @ b)


class Training:
    """One training step, in parts that can be timed by themselves."""

    def __init__(
        self,
        size: str,
        batch: int,
        pixels: int,
        device: torch.device,
        precision: str,
        channels_last: bool,
        compile_mode: str | None,
    ) -> None:
        self.batch, self.device, self.precision = batch, device, Precision.of(precision)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network(size).to(device, memory_format=self.memory_format).train()
        self.run: nn.Module = torch.compile(self.network, mode=compile_mode) if compile_mode else self.network  # type: ignore[assignment]
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-4, fused=device.type == "cuda")
        self.average = AveragedWeights(self.network, 0.999)
        self.noise, self.scheduler, self.augmentation = noise(), scheduler(), augmentation()
        self.generator = torch.Generator().manual_seed(0)
        slices = torch.rand(512 if device.type == "cuda" else 4 * batch, 1, pixels, pixels, generator=self.generator)
        self.images = (slices * 255).to(torch.uint8).to(device)
        self.clean = self.draw()
        self.drawn = self.noise(self.clean, self.generator)
        self.timesteps = torch.randint(0, 1000, (batch,), generator=self.generator).to(device)

    def draw(self) -> Tensor:
        """Take a batch from the array on the device."""
        index = torch.randint(0, len(self.images), (self.batch,), generator=self.generator)
        return self.images[index.to(self.device, non_blocking=True)].float() / 255

    def augment(self) -> Tensor:
        """Augment the batch."""
        return self.augmentation(self.clean, self.clean > 0, self.generator)

    def make_noise(self) -> Tensor:
        """Make noise and add it."""
        drawn = self.noise(self.clean, self.generator)
        return self.scheduler.add_noise(original_samples=self.clean, noise=drawn, timesteps=self.timesteps)  # type: ignore[no-any-return]

    def learn(self) -> Tensor:
        """Forward and backward pass."""
        self.optimizer.zero_grad(set_to_none=True)
        noisy = self.scheduler.add_noise(original_samples=self.clean, noise=self.drawn, timesteps=self.timesteps)
        with self.precision.autocast(self.device):
            output = self.run(noisy.to(memory_format=self.memory_format), timesteps=self.timesteps)
        loss = (output.float() - self.clean).abs().mean()
        loss.backward()
        return loss  # type: ignore[no-any-return]

    def update(self) -> None:
        """Clip, step and average."""
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.average.update()

    def step(self) -> None:
        """Do all of it."""
        self.clean = self.draw()
        self.clean = self.augment()
        self.drawn = self.noise(self.clean, self.generator)
        self.learn()
        self.update()

    def flops(self) -> int:
        """Return the FLOPs of forward and backward pass."""
        with FlopCounterMode(display=False) as counter:
            self.learn()
        return counter.get_total_flops()


def training_report(arguments: argparse.Namespace, clock: Clock, rate: float) -> list[str]:
    """Return the rows of the training variants and the parts of the best of them."""
    variants: list[tuple[str, bool, str | None]] = [("fp32", False, None), ("bf16", False, None), ("bf16", True, None)]
    if not arguments.smoke:
        variants += [("bf16", False, "default"), ("bf16", True, "default"), ("bf16", True, "reduce-overhead")]
    lines = [
        "| training step | ms | images/s | TFLOP/s | of the matrix rate | hours for 19,200 steps |",
        "|---|---|---|---|---|---|",
    ]
    best: tuple[float, Training] | None = None
    for precision, channels_last, mode in variants:
        training = Training(
            arguments.network, arguments.batch, arguments.pixels, clock.device, precision, channels_last, mode
        )
        if best is None:
            flops = training.flops()
        seconds = clock(training.step)
        name = ", ".join(
            [precision, *(["channels-last"] if channels_last else []), *([f"torch.compile ({mode})"] if mode else [])]
        )
        lines.append(
            f"| {name} | {1000 * seconds:.4g} | {arguments.batch / seconds:.4g} | {flops / seconds / 1e12:.4g} | "
            f"{flops / seconds / rate:.1%} | {FULL_SCHEDULE_STEPS * seconds / 3600:.3g} |"
        )
        if best is None or seconds < best[0]:
            best = seconds, training
    assert best is not None
    whole, training = best
    parts = {"batch from the array": training.draw, "augmentation": training.augment, "noise": training.make_noise,
             "forward and backward": training.learn, "clipping, optimiser, averaging": training.update}  # fmt: skip
    lines += [
        "",
        f"{flops / 1e12:.4g} TFLOP a step. Parts of the fastest variant, each by itself:",
        "",
        "| part | ms | share |",
        "|---|---|---|",
    ]
    for name, part in parts.items():
        seconds = clock(part)
        lines.append(f"| {name} | {1000 * seconds:.4g} | {seconds / whole:.1%} |")
    return lines


@torch.inference_mode()
def inference_report(arguments: argparse.Namespace, clock: Clock) -> list[str]:
    """Return volumes per second of a test pass whose input lies on the device, and its parts."""
    device = clock.device
    shape = (arguments.pixels, arguments.pixels, WORKING_GRID[2] if not arguments.smoke else 20)
    image, _, mask, seg = (part.to(device) for part in head(0, shape))
    net, make_noise, steps = network(arguments.network).to(device).eval(), noise(), scheduler()
    score, chain, histogram = SSIMEnsemble(SIGMAS), in_mm(), ScoreHistogram()
    slices, generator = image.permute(2, 0, 1)[:, None] * 2 - 1, torch.Generator().manual_seed(0)
    index = torch.full((len(slices),), 499, device=device)
    autocast = Precision.of("bf16").autocast(device) if not arguments.smoke else nullcontext()

    def reconstruct() -> Tensor:
        noisy = steps.add_noise(original_samples=slices, noise=make_noise(slices, generator), timesteps=index)
        with autocast:
            output = net(noisy, timesteps=index)
        return ((output.float() + 1) / 2)[:, 0].permute(1, 2, 0).contiguous()

    reconstruction = reconstruct()
    found = score(image, reconstruction)
    prepared = chain.prepare(found, mask, (2.0, 2.0, 2.0))
    parts: dict[str, Callable[[], Any]] = {
        "reconstruction (noise and network)": reconstruct,
        "SSIM-ens": lambda: score(image, reconstruction),
        "mask, erosion, median": lambda: chain.prepare(found, mask, (2.0, 2.0, 2.0)),
        "threshold and components": lambda: chain.binarise(prepared, 0.5, (2.0, 2.0, 2.0)),
        "histogram": lambda: histogram.update(prepared, seg),
    }
    seconds = {name: clock(part) for name, part in parts.items()}
    whole = sum(seconds.values())
    lines = [
        f"{1 / whole:.4g} volumes/s on one stream, input on the device:",
        "",
        "| part of a test volume | ms | share |",
        "|---|---|---|",
    ]
    return lines + [f"| {name} | {1000 * value:.4g} | {value / whole:.1%} |" for name, value in seconds.items()]


def main(arguments_given: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="full", choices=("full", "small", "tiny"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--smoke", action="store_true", help="tiny, on the CPU: only shows that the code runs")
    arguments = parser.parse_args(arguments_given)
    warnings.filterwarnings("ignore")
    if arguments.smoke:
        arguments.network, arguments.batch, arguments.pixels, arguments.repeats = "tiny", 2, 32, 1
    elif not torch.cuda.is_available():
        print("no GPU that torch can use; --smoke runs the code on the CPU", file=sys.stderr)
        return 2
    device = torch.device("cpu" if arguments.smoke else "cuda")
    clock = Clock(device, arguments.repeats)
    name = "CPU, smoke run: the numbers mean nothing" if arguments.smoke else torch.cuda.get_device_name()
    sizes = 256 if arguments.smoke else 8192
    rates = {
        kind: matrix_rate(clock, dtype, sizes) for kind, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    print(
        f"{name}; torch {torch.__version__}; measured matrix rate: "
        + ", ".join(f"{k} {v / 1e12:.4g} TFLOP/s" for k, v in rates.items())
    )
    print("\n".join(["", *training_report(arguments, clock, rates["bf16"]), "", *inference_report(arguments, clock)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
