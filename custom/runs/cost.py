# SPDX-License-Identifier: Apache-2.0
"""What a training will cost, before the machine pays: parameters, memory, and after some steps the time.

The memory of a step is mostly what the forward pass keeps for the backward pass. It is counted on a copy of the network
without data (torch's ``meta`` device) the moment the first batch arrives, which takes no memory and hardly any time.
"""

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from ..core.errors import ResourceError

_GIB = 1 << 30
_COPIES = 5  # weights, gradients, two moments of Adam, averaged weights
_SLOW_ON_CPU = 10_000_000  # parameters


def kept_bytes(network: nn.Module, inputs: Sequence[Any], named: Mapping[str, Any]) -> int:
    """Return the bytes that a forward pass keeps for the backward pass; nothing is computed, the network stays as it is.

    >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    >>> kept_bytes(net, [torch.zeros(10, 4)], {}) == 4 * (10 * 4 + 10 * 4)  # input of the layer, output of the ReLU
    True
    """
    shadow = copy.deepcopy(network).to("meta")
    weights = {id(value) for value in (*shadow.parameters(), *shadow.buffers())}
    kept: dict[int, Tensor] = {}

    def count(value: Tensor) -> Tensor:
        if id(value) not in weights and not isinstance(value, nn.Parameter):
            kept[id(value)] = value  # held, or its id would be given to the next
        return value

    def without_data(value: Any) -> Any:
        return value.detach().as_tensor().to("meta") if hasattr(value, "as_tensor") else value.detach().to("meta")

    def moved(value: Any) -> Any:
        return without_data(value) if isinstance(value, Tensor) else value

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
        shadow(*map(moved, inputs), **{name: moved(value) for name, value in named.items()})
    storages = {value.untyped_storage()._cdata: value.untyped_storage().nbytes() for value in kept.values()}
    return sum(storages.values())


def available_bytes(device: torch.device) -> int:
    """Return the memory that is free on ``device``; on the CPU within the limit of the container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        return min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no container, or no limit
        return free


def announce(network: nn.Module, say: Callable[[str], None] = lambda text: print(text, file=sys.stderr)) -> None:
    """Say what the first forward pass of ``network`` will need, when it comes, and refuse what cannot fit.

    Args:
        network: that is trained.
        say: prints a line.

    Raises:
        ResourceError: (at the first forward pass) more memory than there is.
    """

    def first(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        handle.remove()
        parameters = sum(parameter.numel() for parameter in module.parameters())
        batch = next((value for value in (*inputs, *named.values()) if isinstance(value, Tensor)), None)
        if batch is None:
            return
        try:
            kept = kept_bytes(module, inputs, named)
        except (RuntimeError, NotImplementedError, TypeError):  # an operator that has no form without data
            say(f"training: {parameters / 1e6:.1f} million parameters on {batch.device}")
            return
        if torch.is_autocast_enabled(batch.device.type):
            kept //= 2  # 16 bits a number, roughly
        need, have = kept + _COPIES * 4 * parameters, available_bytes(batch.device)
        say(
            f"training: {parameters / 1e6:.1f} million parameters on {batch.device}; a step of {len(batch)} slices needs about "
            f"{need / _GIB:.1f} GiB of {have / _GIB:.1f} GiB free"
        )
        if need > have:
            fits = int(0.9 * len(batch) * (have - _COPIES * 4 * parameters) / max(kept, 1))
            remedy = f"take --batch_size {fits}, or" if fits > 0 else "take"
            raise ResourceError(
                f"a step of {len(batch)} slices needs about {need / _GIB:.1f} GiB, {have / _GIB:.1f} GiB are free on "
                f"{batch.device}; {remedy} a smaller network (--preset small)."
            )
        if batch.device.type == "cpu" and parameters > _SLOW_ON_CPU:
            say("training: on a CPU a network of this size takes days; --preset small trains a small one")

    handle = network.register_forward_pre_hook(first, with_kwargs=True)
