# SPDX-License-Identifier: Apache-2.0
"""Random numbers and smooth random fields, drawn where the generator is and sent to where they are used."""

from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.seeding import sent_to

Range = tuple[float, float]


def lists_as_tuples(part: Any) -> None:
    """Turn the lists among the fields of a frozen dataclass, which JSON has instead of tuples, into tuples."""
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, list):
            object.__setattr__(part, field.name, tuple(value))


def uniform(shape: tuple[int, ...], limits: Range, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return uniform numbers within ``limits``."""
    drawn = torch.rand(shape, generator=generator, device=generator.device)
    return sent_to(drawn, device) * (limits[1] - limits[0]) + limits[0]


def normal(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Return numbers of mean 0 and standard deviation 1."""
    return sent_to(torch.randn(shape, generator=generator, device=generator.device), device)


def choice(
    shape: tuple[int, ...], weights: tuple[float, ...], generator: torch.Generator, device: torch.device
) -> Tensor:
    """Return indices into ``weights``, each as often as its weight says."""
    steps = torch.tensor(weights, device=device).cumsum(0)
    drawn = uniform(shape, (0.0, 1.0), generator, device) * steps[-1]
    return torch.bucketize(drawn, steps, right=True).clamp(max=len(weights) - 1)


def smooth_field(
    count: int, height: int, width: int, spacing_px: float, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Return ``[count, height, width]`` fields whose nodes lie ``spacing_px`` apart, each with mean 0 and variance 1."""
    nodes = [max(round(size / spacing_px) + 1, 4) for size in (height, width)]
    drawn = normal((count, 1, nodes[0], nodes[1]), generator, device)
    fields = F.interpolate(drawn, (height, width), mode="bicubic", align_corners=True)[:, 0]
    deviation, mean = torch.std_mean(fields, dim=(1, 2), keepdim=True)
    return (fields - mean) / deviation
