# SPDX-License-Identifier: Apache-2.0
"""Slabs, brains and foreign slabs of a batch."""

import pytest
import torch

SIZE = 64


@pytest.fixture
def slabs():
    """``(slabs, brain, foreign, foreign_brain)`` of 24 samples, 3 channels and 2 layers; the foreign ones are brighter."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(-1, 1, SIZE)
    disc = (axis[:, None] ** 2 + axis**2) < 0.7
    brain = disc.expand(24, 3, SIZE, SIZE).clone()
    images = (0.4 + 0.05 * torch.randn(24, 3, SIZE, SIZE, generator=generator)).clamp(0, 1) * brain
    foreign_brain = brain[:, None].expand(24, 2, 3, SIZE, SIZE).clone()
    foreign = (0.8 + 0.02 * torch.randn(foreign_brain.shape, generator=generator)) * foreign_brain
    return images, brain, foreign, foreign_brain
