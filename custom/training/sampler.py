# SPDX-License-Identifier: Apache-2.0
"""The order of training samples as a function of (seed, epoch): independent of processes, workers and interruptions."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from ..core.errors import ConfigError
from ..core.seeding import generator_for

BatchKeys = list[tuple[int, int, int]]


class EpochSampler(Sampler[BatchKeys]):
    """Batch sampler (``DataLoader(batch_sampler=...)``) of keys ``(epoch, index, position)`` for a ``SliceDataset``.

    Every process goes through the same global batches and takes each ``world_size``-th sample of them, so the samples
    of a global batch do not depend on the number of processes. ``position`` is the place in the global epoch.

    Args:
        num_items: number of items of the data set.
        batch_size: samples of a global batch, over all processes; a multiple of ``world_size``.
        seed: seed of the run.
        drop_last: leave out the rest that fills no batch.
        rank, world_size: number of this process, and of all.

    >>> sampler = EpochSampler(num_items=4, batch_size=2, seed=1)
    >>> sorted(index for batch in sampler for _, index, _ in batch)
    [0, 1, 2, 3]
    """

    def __init__(
        self,
        num_items: int,
        batch_size: int,
        seed: int,
        drop_last: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 0 <= rank < world_size or batch_size < 1 or batch_size % world_size:
            raise ConfigError(
                f"batch_size {batch_size} must be a positive multiple of world_size {world_size} > rank {rank}"
            )
        rest = num_items % batch_size
        if num_items < 1 or (drop_last and num_items < batch_size):
            raise ConfigError(
                f"{num_items} items fill no batch of {batch_size}, so an epoch would have no step; take a smaller "
                f"batch (--batch_size {max(1, num_items)} or less) or more slices of each scan (--slices_per_volume)."
            )
        if not drop_last and rest % world_size:
            raise ConfigError(
                f"the last batch has {rest} samples, which {world_size} processes cannot share; take drop_last=True"
            )
        self.num_items, self.batch_size, self.seed, self.drop_last = num_items, batch_size, seed, drop_last
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self._first_batch = 0

    def set_epoch(self, epoch: int) -> None:
        """State which epoch the next iteration is; a handler calls this at the start of every epoch."""
        self.epoch = int(epoch)

    def start_at(self, batch: int) -> None:
        """Let the next iteration, and only that one, begin with this batch of its epoch (resumption)."""
        if not 0 <= batch < len(self):
            raise ConfigError(f"cannot start at batch {batch}: an epoch has batches 0 to {len(self) - 1}")
        self._first_batch = int(batch)

    def order(self, epoch: int) -> list[int]:
        """Return the global order of the items in an epoch."""
        generator = generator_for(self.seed, "order", epoch)
        return torch.randperm(self.num_items, generator=generator).tolist()

    def __iter__(self) -> Iterator[BatchKeys]:
        epoch, first = self.epoch, self._first_batch
        self._first_batch = 0
        keys = [(epoch, index, position) for position, index in enumerate(self.order(epoch))]
        for batch in range(first, len(self)):
            yield keys[batch * self.batch_size : (batch + 1) * self.batch_size][self.rank :: self.world_size]

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch, also when the next iteration begins later."""
        full, rest = divmod(self.num_items, self.batch_size)
        return full + int(bool(rest) and not self.drop_last)


class SharedBatches(Sampler[list[int]]):
    """Batch sampler of a validation that several processes share: indices in order, every ``world_size``-th of a batch.

    Nothing waits for another process within the validation, so the shares may differ by one sample.

    Args:
        num_items: number of items of the data set.
        batch_size: samples of a global batch, over all processes.
        rank, world_size: number of this process, and of all.

    >>> [list(SharedBatches(5, batch_size=4, rank=rank, world_size=2)) for rank in (0, 1)]
    [[[0, 2], [4]], [[1, 3]]]
    """

    def __init__(self, num_items: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        if not 0 <= rank < world_size or min(num_items, batch_size) < world_size:
            raise ConfigError(
                f"{num_items} validation samples in batches of {batch_size} leave one of {world_size} processes without "
                "any; take fewer processes or a larger val_slices_per_volume"
            )
        self._batches = [
            list(range(first, min(first + batch_size, num_items)))[rank::world_size]
            for first in range(0, num_items, batch_size)
        ]
        self._batches = [batch for batch in self._batches if batch]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)
