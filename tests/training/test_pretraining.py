# SPDX-License-Identifier: Apache-2.0
"""Batches of a pre-training: the same cells whatever the processes, fixed in the validation, negatives by subject."""

import pytest
import torch

from custom.core.errors import ConfigError
from custom.models.cell_mask import CellMask
from custom.training.pretraining import ContrastivePrepareBatch, MaskedPrepareBatch
from custom.training.random_erasing import RandomErasing


def _batch(positions, epoch=1, names="aabbcddd"):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 1, 96, 96, generator=generator)[positions]
    return {
        "image": images, "mask": torch.ones_like(images, dtype=torch.uint8), "case_id": [names[p] for p in positions],
        "position": torch.tensor(positions), "epoch": torch.full((len(positions),), epoch),
    }  # fmt: skip


@pytest.mark.parametrize("kind", [MaskedPrepareBatch, ContrastivePrepareBatch])
def test_cells_belong_to_the_global_batch(kind):
    stage = {"stage": "validation"} if kind is ContrastivePrepareBatch else {}
    prepare = kind(cell_mask=CellMask(), seed=3, batch_size=8, **stage)
    images, target, _, whole = prepare(_batch(list(range(8))))
    assert torch.equal(images, target)
    assert whole["active"].shape == (8, 1, 3, 3)
    for rank in range(2):
        part = prepare(_batch(list(range(8))[rank::2]))[3]
        assert torch.equal(part["active"], whole["active"][rank::2])


def test_cells_change_with_step_and_epoch_in_training_and_never_in_validation():
    training = MaskedPrepareBatch(CellMask(), seed=3, batch_size=8)
    validation = MaskedPrepareBatch(CellMask(), seed=3, batch_size=8, stage="validation")
    draws = [training(_batch(list(range(8)), epoch=epoch))[3]["active"] for epoch in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    fixed = [validation(_batch(list(range(8)), epoch=0))[3]["active"] for _ in range(2)]
    assert torch.equal(fixed[0], fixed[1])
    assert not torch.equal(fixed[0], draws[0])


def test_second_view_and_groups():
    prepare = ContrastivePrepareBatch(RandomErasing(probability=1), cell_mask=CellMask(), seed=3, batch_size=8)
    images, target, _, arguments = prepare(_batch(list(range(8))))
    assert torch.equal(images, target)
    erased = arguments["view"] != images
    assert erased.flatten(1).any(1).all()
    assert not arguments["view"][erased].any()
    same = arguments["groups"][:, None] == arguments["groups"]
    assert torch.equal(same, torch.tensor([[a == b for b in "aabbcddd"] for a in "aabbcddd"]))
    published = ContrastivePrepareBatch(same_subject=True, cell_mask=CellMask(), seed=3, batch_size=8)
    assert published(_batch(list(range(8))))[3].keys() == {"active"}


def test_shared_contrastive_batch_is_refused():
    prepare = ContrastivePrepareBatch(cell_mask=CellMask(), seed=3, batch_size=8)
    with pytest.raises(ConfigError, match="runs in one process"):
        prepare(_batch([0, 2, 4, 6]))
