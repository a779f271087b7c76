# SPDX-License-Identifier: Apache-2.0
"""Restorations of a scan at several assumed severities, and the mean probability of the mask.

The network (:class:`custom.models.restoration_network.RestorationNetwork`) sees every axial slice with its neighbours
(beyond the ends of the grid the last slice is repeated) and says what it would change were the slice corrupted with that
severity; no noise is drawn.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from .slicewise import SlicewiseReconstruction


class RestorationInferer(SlicewiseReconstruction):
    """Restore volumes: ``[B, 1, X, Y, Z]`` in, one restoration per severity and the mask's probability out.

    Args:
        severities: assumed severities in (0, 1].
        **kwargs: see :class:`SlicewiseReconstruction`.

    >>> from custom.models.restoration_network import RestorationNetwork
    >>> network = RestorationNetwork((16, 16, 4), channels=(8, 8, 8)).eval()
    >>> RestorationInferer(severities=[0.5, 1.0])(torch.rand(1, 1, 16, 16, 4), network).shape
    torch.Size([1, 3, 16, 16, 4])
    """

    has_mask_channel = True
    lone_height: int | None = None  # place of the only slice in the model's grid; None: whole volumes

    def __init__(self, severities: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.severities = tuple(float(severity) for severity in severities)
        if not self.severities or not all(0 < severity <= 1 for severity in self.severities):
            raise ConfigError(f"severities must lie in (0, 1], got {list(severities)}.")

    def at_height(self, height: int) -> "RestorationInferer":
        """Return an inferer for volumes of one slice, which lies at ``height`` of the model's grid.

        Its neighbours are taken to differ from it as those of the healthy mean do; repeated instead, they would look like
        an anomaly to a network that has only seen real ones.
        """
        found = copy(self)
        found.lone_height = height
        return found

    def reconstruct(self, slices: Tensor, network: nn.Module, case_id: str) -> Tensor:
        """Return restorations and mask ``[Z, n + 1, X, Y]`` of ``slices`` ``[Z, 1, X, Y]`` in [0, 1]; not clamped."""
        if self.lone_height is None:
            reach = int(cast(Any, network).neighbours)
            heights = torch.arange(len(slices), device=slices.device)
            around = [heights.add(step).clamp(0, len(slices) - 1) for step in range(-reach, reach + 1)]
            slabs = torch.cat([slices[index] for index in around], dim=1)
        else:
            slabs, heights = _lone(slices, cast(Any, network), self.lone_height)
        outputs = [
            self._in_batches(network, slabs, severity=slabs.new_full((len(slabs),), severity), heights=heights)
            for severity in self.severities
        ]
        residuals = torch.cat([output[:, :1] for output in outputs], dim=1)
        mask = torch.cat([output[:, 1:].sigmoid() for output in outputs], dim=1).mean(dim=1, keepdim=True)
        return torch.cat([slices + residuals, mask], dim=1)


def _lone(slices: Tensor, network: Any, height: int) -> tuple[Tensor, Tensor]:
    """Return the slab ``[1, 2 · neighbours + 1, X, Y]`` of a lone slice ``[1, 1, X, Y]``, and its height."""
    mean = network.healthy_mean.to(slices)
    last, reach = mean.shape[2] - 1, int(network.neighbours)
    height = min(max(height, 0), last)
    around = [mean[:, :, min(max(height + step, 0), last)] - mean[:, :, height] for step in range(-reach, reach + 1)]
    slab = (slices + torch.stack(around)[None]).clamp(0, 1) * (slices > 0)
    slab[:, reach] = slices[:, 0]
    return slab, torch.tensor([height], device=slices.device)
