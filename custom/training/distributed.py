# SPDX-License-Identifier: Apache-2.0
"""One training in several processes, started by ``torchrun``; used by ``custom/configs/multi_gpu.json``.

Every process goes through the same global batches and takes its share of the samples (``EpochSampler``,
``ReconstructionPrepareBatch``), ``DistributedDataParallel`` averages the gradients, and :func:`run` averages the loss:
losses and weights equal those of one process to rounding. Process 0 writes. Checked with two gloo processes against
one process.

Which process this is stands in the environment (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``), so the configuration can
ask before the processes have found each other.
"""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import ignite.distributed as idist
import torch
import torch.distributed as dist
from ignite.engine import Engine
from monai.engines import IterationEvents
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..core.errors import ConfigError, UADError
from ..models.shared_batch_norm import with_shared_batch_norm

T = TypeVar("T")
_LOST = ("gloo", "nccl", "connection", "processgroup", "socket", "peer")


class LostProcess(UADError):
    """Another process of the run ended before this one.

    >>> LostProcess("process 0 stopped: the disk is full").exit_code
    3
    """

    exit_code = 3


def rank() -> int:
    """Return the number of this process, 0 ... world_size - 1."""
    return _environment("RANK", 0)


def world_size() -> int:
    """Return the number of processes."""
    return _environment("WORLD_SIZE", 1)


def device() -> torch.device:
    """Return the device of this process: its own GPU of the machine, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local, found = _environment("LOCAL_RANK", 0), torch.cuda.device_count()
    if local >= found:
        raise ConfigError(
            f"process {local} of this machine has no GPU of its own ({found} found); lower --nproc_per_node."
        )
    return torch.device("cuda", local)


def join(timeout_s: float = 3600.0) -> None:
    """Meet the other processes: gloo on CPUs; NCCL on GPUs, with gloo beside it for what lives on the host.

    Args:
        timeout_s: longest wait for one of them, for example while process 0 prepares the scans.

    Raises:
        ConfigError: not started by torchrun.
    """
    if "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        raise ConfigError(
            "this configuration is for several processes; start it with: torchrun --standalone --nproc_per_node N "
            "-m monai.bundle run training ... (or leave multi_gpu.json out)."
        )
    if not dist.is_initialized():
        own = device()
        if own.type == "cuda":
            torch.cuda.set_device(own)
        backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
        hook = sys.excepthook  # torch would put its own around it, which swallows the message of one that exits
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
        sys.excepthook = hook
    idist.sync()  # Ignite makes a process group on first use; a handler that only process 0 has would wait for ever


def leave() -> None:
    """Part from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def wrapped(network: nn.Module, own: torch.device, world_size: int = 2) -> nn.Module:
    """Return the network whose backward pass averages gradients; of a single process, ``network`` itself.

    All processes have the weights of the first one afterwards, and batch normalisations take the whole batch's statistics.
    """
    if world_size == 1:
        return network.to(own)
    ids = [own.index] if own.type == "cuda" else None
    return DistributedDataParallel(
        with_shared_batch_norm(network).to(own), device_ids=ids, gradient_as_bucket_view=True
    )


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network inside what :func:`wrapped` returned."""
    return network.module if isinstance(network, DistributedDataParallel) else network


def main_first(function: Callable[..., T], **arguments: Any) -> T:
    """Call ``function`` in process 0 and then in the others, which find its results in the cache.

    Raises:
        UADError: the fault of process 0, in every process.
    """
    if not dist.is_initialized():
        return function(**arguments)
    fault: list[UADError | None] = [None]
    result: T | None = None
    if rank() == 0:
        try:
            result = function(**arguments)
        except UADError as error:
            fault = [error]
    message = [None if fault[0] is None else str(fault[0])]
    dist.broadcast_object_list(message, device=torch.device("cpu"))
    if message[0] is not None:
        raise fault[0] or LostProcess(f"process 0 stopped: {message[0]}")
    return function(**arguments) if result is None else result


def agree(number: int) -> int:
    """Return the largest ``number`` of all processes, which all must ask; used to stop all of them at one iteration."""
    if not dist.is_initialized():
        return number
    largest = torch.tensor(number)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return int(largest)


def run(trainer: Engine, resume_from: str) -> None:
    """Run a ``SupervisedTrainer`` whose loss is averaged over the processes.

    Args:
        trainer: the trainer.
        resume_from: folder of the checkpoints, for the message.

    Raises:
        LostProcess: another process was killed or failed.
    """
    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, _average_loss)
    try:
        trainer.run()
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(word in str(error).lower() for word in _LOST):
            raise
        raise LostProcess(
            f"process {rank()} of {world_size()} stops because another one was killed or failed (its own message, if "
            f"any, is in the log). Run the same command again to resume from {resume_from}; the number of processes may "
            "change."
        ) from error


def _average_loss(engine: Engine) -> None:
    output: Any = engine.state.output
    loss = output["loss"].detach().clone() / world_size()
    dist.all_reduce(loss)
    output["loss"] = loss


def _environment(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, default))
    except ValueError:
        raise ConfigError(
            f"the environment variable {name} is {os.environ[name]!r}; torchrun sets it to a number."
        ) from None
