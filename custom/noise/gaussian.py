# SPDX-License-Identifier: Apache-2.0
"""White Gaussian noise, the standard choice of DDPM (Ho et al., NeurIPS 2020). Any shape, mean 0, variance 1."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.seeding import sent_to


@dataclass(frozen=True)
class GaussianNoise:
    """Callable ``noise(like, generator)``: N(0, 1), float32, shape and device of ``like``.

    Drawn on the generator's device and moved once, so a CPU generator gives the same noise for every device.

    >>> first, second = (GaussianNoise()(torch.zeros(1, 1, 8, 8), torch.Generator().manual_seed(1)) for _ in range(2))
    >>> torch.equal(first, second)
    True
    """

    def __call__(self, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return independent standard normal numbers of the shape of ``like``."""
        source = like.device if generator is None else generator.device
        return sent_to(torch.randn(like.shape, generator=generator, device=source), like.device)
