# SPDX-License-Identifier: Apache-2.0
"""What a training will take, said before it takes it: parameters, memory, and after two steps the time.

The memory is counted, not guessed: the network runs once without numbers (torch's ``meta`` device) on the shape of the
first batch, and every tensor that its backward pass would keep is added up. A training that does not fit into the memory
of the machine is refused before anything is written, instead of being killed by the kernel hours later.
"""

import copy
import dataclasses
import logging
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from ..core.errors import ResourceError
from ..core.memory import available_memory

_LOG = logging.getLogger(__name__)
GIB = 2**30
# kept tensors to peak of a step: gradients of activations and work space; measured, see docs/robustness.md
_WORK = 1.25
_COPIES = 6  # of the parameters: weights, gradients, two of Adam, their average, and one while a checkpoint is written
_COPIES_THEN = 4  # while activations are kept: no gradients yet, no checkpoint
_SHARE = 0.95
_PATIENCE_H = 24.0  # a training on a CPU that takes longer is better a small one
_MANY_FOR_A_CPU = 10_000_000  # parameters


@dataclass(frozen=True)
class Forecast:
    """What one training step needs.

    Attributes:
        parameters: number of the network's parameters.
        fixed_bytes: for weights, gradients, optimiser and average.
        sample_bytes: for each slice that goes through the network with others.
        batch: slices that go through the network together, in this process.

    >>> need = Forecast(parameters=1_000_000, fixed_bytes=24e6, sample_bytes=4e6, batch=4)
    >>> need.bytes / 1e6, need.largest_batch(free_bytes=40e6)
    (32.0, 6)
    """

    parameters: int
    fixed_bytes: float
    sample_bytes: float
    batch: int

    @property
    def bytes(self) -> float:
        """Memory of a step: activations are gone before the gradients are complete."""
        return max(self.fixed_bytes, self._then + self.batch * self.sample_bytes)

    @property
    def _then(self) -> float:
        return self.fixed_bytes * _COPIES_THEN / _COPIES

    def largest_batch(self, free_bytes: float) -> int:
        """Return the number of slices that fit into a memory; 0: none."""
        if free_bytes < self.fixed_bytes:
            return 0
        return int((free_bytes - self._then) // self.sample_bytes) if self.sample_bytes else self.batch


def forecast(network: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Forecast:
    """Return what a step with these inputs of the network needs, without computing it.

    Args:
        network: any; nothing in it changes.
        arguments: inputs of its ``forward``, with the batch as first axis.
        keywords: further ones.
    """
    parameters = sum(p.numel() for p in network.parameters())
    fixed = _COPIES * sum(p.numel() * p.element_size() for p in network.parameters())
    memo: dict[int, Any] = {id(p): nn.Parameter(torch.empty_like(p, device="meta")) for p in network.parameters()}
    memo |= {id(b): torch.empty_like(b, device="meta") for b in network.buffers()}
    bare = copy.deepcopy(network, memo).train()
    own = {id(p) for p in bare.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if id(tensor) not in own and (tensor._base is None or id(tensor._base) not in own):
            kept[id(tensor if tensor._base is None else tensor._base)] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = bare(*map(_bare, arguments), **{name: _bare(value) for name, value in keywords.items()})
    activations = sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
    del result
    batch = next(
        value.shape[0] for value in (*arguments, *keywords.values()) if isinstance(value, Tensor) and value.ndim
    )
    return Forecast(parameters, fixed, _WORK * activations / batch, batch)


class _Reached(Exception):
    """The network was called; what it was called with is known."""


def _first_step(
    network: nn.Module,
    dataloader: Iterable[Any],
    prepare_batch: Callable[..., Any],
    inferer: Callable[..., Any],
    device: torch.device,
) -> Forecast:
    """Return the forecast for the first batch of a training."""
    found: dict[str, Any] = {}

    def stop(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        found.update(arguments=arguments, keywords=keywords)
        raise _Reached

    inputs, _, *rest = prepare_batch(next(iter(dataloader)), device, False)
    arguments, keywords = rest if rest else ((), {})
    hook = network.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        inferer(inputs, network, *arguments, **keywords)
    except _Reached:
        pass
    finally:
        hook.remove()
    return forecast(network, found["arguments"], found["keywords"])


def foresee(
    network: nn.Module,
    dataloader: Iterable[Any],
    prepare_batch: Callable[..., Any],
    inferer: Any,
    device: Any,
    step: Any = None,
    show: bool = True,
    small_preset: str | Path | None = None,
) -> Forecast | None:
    """Say what a training needs, before anything of it is written, and refuse it if the machine does not have that.

    Args:
        network, dataloader, prepare_batch, device: of the trainer; the first batch is looked at.
        inferer: of the trainer; with the ``precision`` bf16 or fp16, half as much is kept for the backward pass.
        step: :class:`~custom.training.micro_batches.MicroBatchStep`, or None for the trainer's own step.
        show: False prints nothing (all processes but the first).
        small_preset: JSON file in the ``configs`` of a bundle with a network for CPUs; it is named if it exists.

    Returns:
        The forecast; None where there is none, for example of a network that cannot run without numbers.

    Raises:
        ResourceError: it does not fit; names the size that does, and the bundle's small preset if there is one.
    """
    small = Path(small_preset) if small_preset is not None and Path(small_preset).is_file() else None
    device, micro_batch_size = torch.device(device), getattr(step, "size", None)
    try:
        with torch.random.fork_rng(devices=[]):  # a loader and layers draw from the global generator
            found = _first_step(network, dataloader, prepare_batch, inferer, device)
        free = free_bytes(device)
    except Exception as error:  # a forecast never costs a training
        _LOG.info("no forecast of memory: %s: %s", type(error).__name__, error)
        return None
    if getattr(getattr(inferer, "precision", None), "value", "fp32") in ("bf16", "fp16"):
        found = dataclasses.replace(found, sample_bytes=found.sample_bytes / 2)
    batch = found.batch
    found = dataclasses.replace(found, batch=min(batch, micro_batch_size or batch))
    pieces = "" if found.batch == batch else f", {found.batch} at a time"
    where = "GPU" if device.type == "cuda" else "CPU, memory of this machine"
    if show:
        print(
            f"{found.parameters / 1e6:.1f} million parameters, batches of {batch} slices{pieces}: about {found.bytes / GIB:.1f} GiB "
            f"({where}: {free / GIB:.1f} GiB free)",
            file=sys.stderr,
        )
        if device.type == "cpu" and found.parameters > _MANY_FOR_A_CPU:
            print(
                "on a CPU a network of this size is slow (the time follows after two steps)"
                + (f"; the small preset is meant for CPUs: --preset {small.stem}" if small else ""),
                file=sys.stderr,
                flush=True,
            )
    if found.bytes > _SHARE * free:
        fits = found.largest_batch(_SHARE * free)
        smaller = f"take {_smaller(fits, batch, micro_batch_size)}, or " if fits else ""
        other = (
            f"the small preset (--preset {small.stem}; of MONAI's command line: {small} behind the training's configuration)"
            if small
            else "a smaller network"
        )
        raise ResourceError(
            f"this training needs about {found.bytes / GIB:.1f} GiB and {free / GIB:.1f} GiB are free; {smaller}"
            f"{other}, or a GPU with more memory."
        )
    return found


def _smaller(fits: int, batch: int, micro_batch_size: int | None) -> str:
    if micro_batch_size is None:
        return f"--batch_size {fits} (another training than with {batch})"
    return f"--micro_batch_size {fits} (the same training in smaller pieces)"


def free_bytes(device: torch.device) -> float:
    """Return the memory that is free on a device; of a container, what its limit leaves."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(available_memory())


class TimeForecast:
    """After the second step of a training, say how long a step takes and how long all of them will.

    Args:
        show: False on all processes but the first.

    >>> from types import SimpleNamespace
    >>> trainer = SimpleNamespace(state=SimpleNamespace(max_epochs=10, epoch_length=100, iteration=2))
    >>> TimeForecast().words(0.5, trainer)
    '0.50 s a step, 998 steps to go: about 8 min without validation'
    """

    def __init__(self, show: bool = True) -> None:
        self.show = show
        self._began = 0.0
        self._steps = 0

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        if self.show:
            engine.add_event_handler(Events.ITERATION_STARTED, self._start)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._end)

    def _start(self, engine: Engine) -> None:
        self._steps += 1
        if self._steps == 2:  # the first pays for everything that is done once
            self._began = time.monotonic()

    def _end(self, engine: Engine) -> None:
        if self._steps == 2:
            text = self.words(time.monotonic() - self._began, engine)
            print(text, file=sys.stderr, flush=True)

    def words(self, seconds: float, engine: Engine) -> str:
        """Return the line about a training whose steps take ``seconds``."""
        left = engine.state.max_epochs * engine.state.epoch_length - engine.state.iteration
        hours = left * seconds / 3600
        total = f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
        text = f"{seconds:.2f} s a step, {left} steps to go: about {total} without validation"
        if hours > _PATIENCE_H and engine.state.device.type == "cpu":
            text += "; on a CPU, take a smaller network or fewer --max_epochs"
        return text


def _bare(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_like(value, device="meta", requires_grad=False)
    return value
