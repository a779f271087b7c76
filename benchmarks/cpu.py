# SPDX-License-Identifier: Apache-2.0
"""What the network costs on a CPU by arithmetic, memory format, batch, compilation and ONNX Runtime."""

import importlib
import io
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import Candidate, Subject, peer
from benchmarks.networks import network
from custom.models.precision import Precision

TIMESTEP = 499


class _Fixed(nn.Module):
    """The network at one timestep: what a test pass needs, with a single input for exporters."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return the prediction."""
        steps = torch.full((x.shape[0],), TIMESTEP, dtype=torch.long)
        return self.net(x, timesteps=steps)  # type: ignore[no-any-return]


def relative_rms(result: Any, own: Tensor) -> float:
    """Return the root mean square deviation as a share of the root mean square of ``own``."""
    other = torch.as_tensor(result).float()[: len(own)]
    return float((other - own[: len(other)]).square().mean().sqrt() / own.square().mean().sqrt())


def subjects(
    size: str = "small", pixels: int = 96, batch: int = 2, compiled: bool = True, batches: Sequence[int] = (1, 4, 8, 32)
) -> Sequence[Subject]:
    """Return forward and training passes of the network ``size`` on ``[batch, 1, pixels, pixels]``."""
    net = _Fixed(network(size)).eval()
    last = _Fixed(network(size)).eval().to(memory_format=torch.channels_last)
    images = torch.rand(32, 1, pixels, pixels, generator=torch.Generator().manual_seed(0))
    x = images[:batch]

    def forward(module: nn.Module, precision: str, inputs: Tensor, channels_last: bool = False) -> Callable[[], Tensor]:
        memory_format = torch.channels_last if channels_last else torch.contiguous_format

        def run() -> Tensor:
            with torch.inference_mode(), Precision.of(precision).autocast(inputs.device):
                return module(inputs.to(memory_format=memory_format)).float()  # type: ignore[no-any-return]

        return run

    def onnx(module: Any) -> Candidate:
        importlib.import_module("onnx")  # torch writes the file with it
        options = module.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        buffer = io.BytesIO()
        torch.onnx.export(net, (x,), buffer, input_names=["x"], dynamo=False)
        session = module.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
        return Candidate("ONNX Runtime, fp32", lambda: session.run(None, {"x": x.numpy()})[0], relative_rms, 1e-4)

    candidates = [
        Candidate("fp32", forward(net, "fp32", x)),
        Candidate("fp32, channels-last", forward(last, "fp32", x, True), relative_rms, 1e-4),
        Candidate("bf16", forward(net, "bf16", x), relative_rms, 0.05),
        Candidate("bf16, channels-last", forward(last, "bf16", x, True), relative_rms, 0.05),
        peer("onnxruntime", "ONNX Runtime, fp32", onnx),
    ]
    if compiled and shutil.which("c++"):
        optimised = torch.compile(net)
        candidates += [
            Candidate(
                "fp32, torch.compile", forward(optimised, "fp32", x), relative_rms, 1e-4, "compiling not counted"
            ),
            Candidate(
                "bf16, torch.compile", forward(optimised, "bf16", x), relative_rms, 0.05, "compiling not counted"
            ),
        ]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(x)
    flops = counter.get_total_flops()
    candidates += [_bare_convolution(precision, pixels, batch, flops) for precision in ("fp32", "bf16")]
    sizes = [
        Candidate(
            f"fp32, {count} slices at once",
            forward(net, "fp32", images[:count]),
            relative_rms,
            1e-4,
            "per slice",
            every=count / batch,
        )
        for count in batches
    ]
    return [
        Subject(f"Forward pass of {batch} slices, {size} network ({flops / batch / 1e9:.3g} GFLOP a slice)", candidates, 3, "bf16 at least 1.9x (a ratio below 0.53); at least 0.85x in the row of bare convolutions"),
        Subject(f"Slices per pass, {size} network", [Candidate(f"fp32, {batch} slices", forward(net, "fp32", x)), *sizes], 3, "batches of 1 to 4"),
        Subject(f"Forward and backward of {batch} slices, {size} network", _training(size, x), 3),
    ]  # fmt: skip


def _bare_convolution(precision: str, pixels: int, batch: int, flops: int) -> Candidate:
    """What a 3x3 convolution of 128 channels would take for as many operations: the practical limit."""
    layer = nn.Conv2d(128, 128, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.rand(batch, 128, pixels, pixels).to(memory_format=torch.channels_last)

    def run() -> Tensor:
        with torch.inference_mode(), Precision.of(precision).autocast(x.device):
            return layer(x)  # type: ignore[no-any-return]

    own = 2 * 9 * 128 * 128 * batch * pixels**2
    return Candidate(f"bare 3x3 convolutions of as many FLOPs, {precision}", run, note="the limit", every=own / flops)


def _training(size: str, x: Tensor) -> list[Candidate]:
    def step(precision: str, channels_last: bool) -> Callable[[], float]:
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        net = _Fixed(network(size)).train().to(memory_format=memory_format)

        def run() -> float:
            net.zero_grad(set_to_none=True)
            with Precision.of(precision).autocast(x.device):
                output = net(x.to(memory_format=memory_format))
            loss = (output.float() - x).abs().mean()
            loss.backward()
            return float(loss)

        return run

    def relative(result: float, own: float) -> float:
        return abs(result / own - 1)

    return [
        Candidate("fp32", step("fp32", False)),
        Candidate("fp32, channels-last", step("fp32", True), relative, 1e-4, "loss"),
        Candidate("bf16", step("bf16", False), relative, 0.05, "loss"),
        Candidate("bf16, channels-last", step("bf16", True), relative, 0.05, "loss"),
    ]
