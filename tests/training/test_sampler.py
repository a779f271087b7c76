# SPDX-License-Identifier: Apache-2.0
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom.core.errors import ConfigError
from custom.training.sampler import EpochSampler

pytestmark = [
    pytest.mark.fault(37),
]


def keys(sampler: EpochSampler, epoch: int) -> list[list[tuple[int, int, int]]]:
    sampler.set_epoch(epoch)
    return list(sampler)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 5), st.booleans())
def test_every_item_once_and_positions_in_order(items, batch, epoch, drop_last):
    if drop_last and items < batch:
        with pytest.raises(ConfigError, match="no step"):
            EpochSampler(items, batch, 0)
        return
    sampler = EpochSampler(items, batch, 0, drop_last)
    batches = keys(sampler, epoch)
    flat = list(chain(*batches))
    assert len(batches) == len(sampler) == (items // batch if drop_last else -(-items // batch))
    assert [position for _, _, position in flat] == list(range(items // batch * batch if drop_last else items))
    assert {e for e, _, _ in flat} == {epoch}
    indices = [index for _, index, _ in flat]
    assert len(set(indices)) == len(indices)
    assert set(indices) <= set(range(items))
    if not drop_last:
        assert len(indices) == items


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3))
def test_the_global_batches_are_those_of_one_process(world, per_rank, epoch):
    batch = world * per_rank
    whole = keys(EpochSampler(50, batch, 7), epoch)
    parts = [keys(EpochSampler(50, batch, 7, rank=r, world_size=world), epoch) for r in range(world)]
    for number, expected in enumerate(whole):
        assert sorted(chain(*(part[number] for part in parts)), key=lambda key: key[2]) == expected
        assert all(len(part[number]) == per_rank for part in parts)


@given(st.integers(0, 4), st.integers(0, 9))
def test_resumption_in_the_middle_of_an_epoch(batch, epoch):
    whole = keys(EpochSampler(23, 4, 1), epoch)
    resumed = EpochSampler(23, 4, 1)
    resumed.start_at(batch)
    assert keys(resumed, epoch) == whole[batch:]
    assert keys(resumed, epoch) == whole
    assert len(resumed) == 5


def test_epochs_and_seeds_differ():
    orders = {tuple(EpochSampler(30, 2, seed).order(epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 3, "world_size": 2}, "multiple of world_size"),
        ({"batch_size": 4, "world_size": 2, "rank": 2}, "rank 2"),
        ({"batch_size": 0}, "multiple"),
        ({"batch_size": 16}, "10 items fill no batch of 16"),
        ({"batch_size": 7, "drop_last": False, "world_size": 7}, "the last batch has 3 samples"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigError, match=message):
        EpochSampler(10, seed=0, **options)


def test_start_outside_of_an_epoch():
    with pytest.raises(ConfigError, match="batches 0 to 4"):
        EpochSampler(10, 2, 0).start_at(5)
