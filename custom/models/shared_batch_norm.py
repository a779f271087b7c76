# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation whose statistics are those of the whole batch, however many processes share it.

``torch.nn.SyncBatchNorm`` does this on GPUs only. Here sums, squares and counts of all processes are added with
gradients, on any device, so that several processes train as one does. Without a process group it is
``torch.nn.BatchNorm2d`` (in the training mode: to rounding); the state dict is always the same.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _Summed(torch.autograd.Function):
    """Sum over all processes, whose gradient is summed alike."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


class SharedBatchNorm2d(nn.BatchNorm2d):
    """``BatchNorm2d`` over the samples of all processes; arguments and state dict are the same.

    >>> x = torch.rand(4, 3, 8, 8)
    >>> torch.equal(SharedBatchNorm2d(3)(x), nn.BatchNorm2d(3)(x))  # here there is one process
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised features, shaped as ``x`` ``[B, C, H, W]``."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        rows = x.transpose(0, 1).flatten(1).double()  # [C, positions]; sums of squares cancel in single precision
        sums = torch.cat([rows.sum(1), rows.square().sum(1), rows.new_full((1,), rows.shape[1])])
        total, squares, count = _Summed.apply(sums).split([self.num_features, self.num_features, 1])  # type: ignore[no-untyped-call]
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        self._remember(mean.detach(), variance.detach(), count.detach())
        scale = (variance + self.eps).rsqrt()
        normed = (x - _as_map(mean, x)) * _as_map(scale, x)
        return normed if self.weight is None else normed * _as_map(self.weight, x) + _as_map(self.bias, x)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), factor)


def with_shared_batch_norm(network: nn.Module) -> nn.Module:
    """Exchange every ``BatchNorm2d`` within ``network``, in place; parameters and buffers stay the same objects."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                child.__class__ = SharedBatchNorm2d
                parent.add_module(name, child)
    return network


def _as_map(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype)[None, :, None, None]
