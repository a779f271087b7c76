# SPDX-License-Identifier: Apache-2.0
"""Erased rectangles: published places and sizes, the generator's draws, how often."""

import pytest
import torch

from custom.core.errors import ConfigError
from custom.training.random_erasing import RandomErasing, rectangle


@pytest.mark.parametrize(
    ("f", "expected", "pixels"),
    [
        (0.0, (36, 24, 24, 48), 1152),
        (0.3, (49, 36, 26, 52), 26 * 52),
        (-0.6, (10, 0, 19, 39), 19 * 39),
        (0.9, (76, 61, 30, 60), 700),  # cut off at the edge
        (1.5, (7, 85, 34, 69), 374),
    ],
)
def test_published_rectangles(f, expected, pixels, monkeypatch):
    """Measured with the released code at 96 x 96."""
    assert rectangle(96, 96, f, f, f) == expected
    monkeypatch.setattr(torch, "randn", lambda *shape, generator: torch.full(shape, f / 0.3, dtype=torch.float64))
    erased = RandomErasing(probability=1, tied=True)(torch.ones(1, 1, 96, 96), None, torch.Generator())
    assert (erased == 0).sum() == pixels
    assert erased[0, 0, expected[0], expected[1]] == 0


def test_draws_come_from_the_generator_and_leave_the_input_alone():
    images = torch.rand(50, 1, 96, 96) + 0.1
    before = images.clone()
    one, two = (RandomErasing()(images, None, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(images, before)
    erased = (one != images).flatten(1).any(1)
    assert 0.5 < erased.float().mean() < 0.9
    assert (one[one != images] == 0).all()
    assert torch.equal(RandomErasing(probability=0)(images, None, torch.Generator()), images)


def test_rectangles_leave_the_diagonal_unless_tied():
    def centres(tied):
        erased = RandomErasing(probability=1, tied=tied)(
            torch.ones(300, 1, 96, 96), None, torch.Generator().manual_seed(1)
        )
        return torch.stack([(image[0] == 0).nonzero().float().mean(0) for image in erased])

    assert torch.corrcoef(centres(tied=True).T)[0, 1] > 0.5  # 1 but for those cut off
    assert torch.corrcoef(centres(tied=False).T)[0, 1].abs() < 0.2


@pytest.mark.parametrize("wrong", [{"probability": 1.5}, {"deviation": -1}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match="RandomErasing takes"):
        RandomErasing(**wrong)
