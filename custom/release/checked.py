# SPDX-License-Identifier: Apache-2.0
"""Refuse a network with other weights than those that a release was frozen with.

MONAI Label loads ``models/model.pt`` with ``strict=False``: a checkpoint of another network leaves random weights and
a mask that looks like one. The inferer is the first code of ours that sees the network there, so it compares.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from ..core.errors import ConfigError

REFUSAL = "the network does not have the weights of this release"


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Return one digest of names, kinds, shapes and bytes of all tensors, whatever their order and device.

    >>> state_sha256({"a": torch.zeros(2), "b": torch.ones(1)}) == state_sha256({"b": torch.ones(1), "a": torch.zeros(2)})
    True
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def network_sha256(network: nn.Module) -> str:
    """Return :func:`state_sha256` of a network's weights."""
    return state_sha256(network.state_dict())


class CheckedInferer(Inferer):
    """Hand over to ``inferer`` if the network has the weights of this release.

    Args:
        inferer: called with the same arguments.
        weights_sha256: :func:`state_sha256` of the network's state dict.

    >>> network = nn.Linear(1, 1)
    >>> inferer = CheckedInferer(lambda inputs, network: network(inputs), network_sha256(network))
    >>> inferer(torch.zeros(1, 1), network).shape
    torch.Size([1, 1])
    >>> inferer(torch.zeros(1, 1), nn.Linear(1, 1))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    custom.core.errors.ConfigError: the network does not have the weights of this release ...
    """

    def __init__(self, inferer: Any, weights_sha256: str) -> None:
        self.inferer = inferer
        self.weights_sha256 = weights_sha256

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Return ``inferer(inputs, network, *args, **kwargs)``, or raise a ``ConfigError`` for other weights."""
        if state_sha256(network.state_dict()) != self.weights_sha256:
            raise ConfigError(
                f"{REFUSAL} (models/model.pt was exchanged, damaged or "
                "belongs to another network), so its maps would mean nothing; unpack the release again."
            )
        return self.inferer(inputs, network, *args, **kwargs)
