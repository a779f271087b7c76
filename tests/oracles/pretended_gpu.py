# SPDX-License-Identifier: Apache-2.0
"""A CPU that pretends to be a GPU and refuses whatever would make the host wait for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
DEVICE = torch.device("cuda:0")
READS = {
    aten._local_scalar_dense.default: "a value is read",
    aten.nonzero.default: "the size of a result depends on values",
    aten.masked_select.default: "the size of a result depends on values",
    aten.equal.default: "values are compared on the host",
    aten.bincount.default: "the size of a result depends on values",
}


class Waits(AssertionError):
    """The host would wait for the GPU."""


class OnGPU(Tensor):
    """A tensor of the pretended GPU; the values lie in ``own``."""

    @staticmethod
    def __new__(cls, own: Tensor) -> "OnGPU":
        shell = own.detach().to("meta")
        made = Tensor._make_subclass(cls, shell, dispatch_device=True, device_for_backend_keys=DEVICE)
        made.own = own
        return made

    @property
    def device(self) -> torch.device:
        return DEVICE

    def cpu(self, *args: Any, **kwargs: Any) -> Tensor:
        raise Waits("a tensor is copied to the host")

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        places = [part for part in (*args, kwargs.get("device")) if isinstance(part, (str, torch.device))]
        return self.cpu() if any(torch.device(place).type == "cpu" for place in places) else super().to(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError("use the tensors of the pretended GPU inside the with block only")


class _Mode(TorchDispatchMode):
    def __init__(self, may_wait: bool) -> None:
        super().__init__()
        self.may_wait = may_wait

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        there = any(isinstance(part, OnGPU) for part in tree_flatten((args, kwargs))[0])
        target = kwargs.get("device")
        if not self.may_wait:
            _refuse_waiting(func, args, kwargs, there)
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        result = func(*tree_map(_own, args), **tree_map(_own, kwargs))
        if there and func._schema.is_mutable:
            return None if result is None else kwargs.get("out", args[0])
        on_gpu = target.type == "cuda" if target is not None else there
        return tree_map(lambda part: OnGPU(part) if isinstance(part, Tensor) else part, result) if on_gpu else result


def _refuse_waiting(func: Any, args: Any, kwargs: Any, there: bool) -> None:
    target = kwargs.get("device")
    if there and func in READS:
        raise Waits(f"{func}: {READS[func]}")
    if func is aten._to_copy.default and target is not None and (target.type == "cuda") != there:
        if there:
            raise Waits("a tensor is copied to the host")
        if not (kwargs.get("non_blocking") and getattr(args[0], "is_pretended_pinned", False)):
            raise Waits(f"{list(args[0].shape)} is copied to the GPU from ordinary memory, or the copy is waited for")
    if there and func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
        for index in args[1]:
            if index is not None and (index.dtype == torch.bool or not isinstance(index, OnGPU)):
                raise Waits(f"{func}: indexed by a mask or by numbers on the host")


def _own(part: Any) -> Any:
    return part.own if isinstance(part, OnGPU) else part


def _pinned(tensor: Tensor) -> Tensor:
    copy = tensor.clone()
    copy.is_pretended_pinned = True
    return copy


@contextmanager
def pretended_gpu(may_wait: bool = False) -> Iterator[None]:
    """Within the block, ``OnGPU(tensor)`` is a tensor on a GPU; whatever waits for it raises :class:`Waits`.

    Args:
        may_wait: True lets everything pass, for tables that are built on first use.
    """
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") starts on the CPU
    try:
        started, pinned = (
            patch.object(torch.cuda, "_lazy_init", lambda: None),
            patch.object(Tensor, "pin_memory", _pinned),
        )
        with started, pinned, _Mode(may_wait):
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(lifted)
