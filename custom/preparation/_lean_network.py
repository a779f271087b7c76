# SPDX-License-Identifier: Apache-2.0
"""The same network in less memory: convolutions a slab of planes at a time, instance norms a few channels at a time.

On a CPU a convolution copies its whole input and output into blocks of 16 channels, and a norm writes a new volume. For a
network that works on a whole head at once (42 channels of 3.6 million voxels, 0.6 GB, at its last layers) the copies take
more memory than the volumes. Only the order of the work changes: each voxel is computed from the same numbers.
"""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

_PLANES, _CHANNELS = 16, 7


def lean(network: nn.Module, kept: str = "bn_1") -> None:
    """Let the 3x3x3 convolutions and the instance norms of ``network`` work in parts; for inference only.

    Args:
        network: of :class:`torch.nn.Conv3d` and :class:`torch.nn.InstanceNorm3d`; its parameters keep their names.
        kept: end of the names of norms whose input is used again after them; all others overwrite it.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size == (3, 3, 3) and module.stride == (1, 1, 1):
            module.forward = partial(_convolve, module)  # type: ignore[method-assign]
        elif isinstance(module, nn.InstanceNorm3d) and not name.endswith(kept):
            module.forward = partial(_normalise, module)  # type: ignore[method-assign]


def _convolve(convolution: nn.Conv3d, volume: Tensor) -> Tensor:
    """Return the convolution of ``[1, C, X, Y, Z]`` with zeros around it."""
    planes = volume.shape[2]
    result = volume.new_empty(1, convolution.out_channels, *volume.shape[2:])
    for start in range(0, planes, _PLANES):
        end = min(start + _PLANES, planes)
        first, last = max(start - 1, 0), min(end + 1, planes)
        missing = (0, 0, 0, 0, first - (start - 1), end + 1 - last)
        slab = functional.pad(volume[:, :, first:last], missing)
        result[:, :, start:end] = functional.conv3d(slab, convolution.weight, convolution.bias, padding=(0, 1, 1))
    return result


def _normalise(norm: nn.InstanceNorm3d, volume: Tensor) -> Tensor:
    """Overwrite ``[1, C, X, Y, Z]`` with its instance norm and return it."""
    for start in range(0, volume.shape[1], _CHANNELS):
        part = slice(start, start + _CHANNELS)
        weight, bias = (None if values is None else values[part] for values in (norm.weight, norm.bias))
        volume[:, part] = functional.instance_norm(volume[:, part], weight=weight, bias=bias, eps=norm.eps)
    return volume
