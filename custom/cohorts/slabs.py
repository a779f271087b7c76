# SPDX-License-Identifier: Apache-2.0
"""Slabs of neighbouring axial slices, with slabs of other subjects beside them, for restoration networks.

Items are those of :mod:`.dataset` with ``2 · neighbours + 1`` channels in ``image`` and ``mask`` (the slice itself in the
middle; beyond the ends of the grid the last slice is repeated), ``foreign`` and ``foreign_mask`` ``[n, C, X, Y]``, and
``slice``, the height of the middle one. Which foreign slab is taken is a hash of (seed, epoch, case, position).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.seeding import derive_seed
from .cases import Case
from .dataset import FixedSliceDataset, SliceDataset, _SlicesInMemory

FOREIGN_DISTANCE = 15  # slices between the heights of a slab and its foreign ones, at most


class _Slabs(_SlicesInMemory):
    """Slabs around the slices that a data set of slices chooses."""

    neighbours: int
    foreign_slabs: int
    slab_seed: int

    def mean_volume(self) -> Tensor:
        """Return the mean over all cases, ``[X, Y, Z]`` float32."""
        total = sum((volume.float() for volume in self.images), torch.zeros((), device=self.images.device))
        return (torch.as_tensor(total) / len(self.images))[:, 0].permute(1, 2, 0).contiguous()

    def __getitems__(self, keys: Sequence[Any]) -> list[Any]:
        """Return the items of a batch, gathered at once."""
        places = [self._place(key) for key in keys]
        wanted: list[tuple[int, int]] = []
        for case, height, epoch, position in places:
            wanted.append((case, height))
            wanted += [self._foreign(case, height, epoch, position, nth) for nth in range(self.foreign_slabs)]
        last = self.images.shape[1] - 1
        around = range(-self.neighbours, self.neighbours + 1)
        slices = [(case, min(max(height + step, 0), last)) for case, height in wanted for step in around]
        shape = (len(places), 1 + self.foreign_slabs, len(around), *self.images.shape[3:])
        images, masks = (array.view(shape) for array in self._gathered(slices))
        return [
            {"image": image[0], "mask": mask[0], "foreign": image[1:], "foreign_mask": mask[1:], **self._names(*place)}
            for image, mask, place in zip(images, masks, places, strict=True)
        ]

    def _foreign(self, case: int, height: int, epoch: int, position: int, nth: int) -> tuple[int, int]:
        """Return case and height of a slab of another subject, at most 15 slices higher or lower."""
        draw = derive_seed(self.slab_seed, "foreign", epoch, self.data[case]["case_id"], position, nth)
        other = (case + 1 + draw % (len(self.data) - 1)) % len(self.data) if len(self.data) > 1 else case
        step = (draw >> 24) % (2 * FOREIGN_DISTANCE + 1) - FOREIGN_DISTANCE
        usable = self.usable[other]
        return other, min(max(height + step, usable[0]), usable[-1])


class SlabDataset(_Slabs, SliceDataset):
    """Training: slabs around random brain slices of every scan and epoch.

    Args:
        cases: datalist of healthy scans, at least two.
        seed: seed of the run.
        neighbours: slices on either side.
        foreign_slabs: slabs of other subjects per item.
        **kwargs: see :class:`~custom.cohorts.dataset.SliceDataset`.

    >>> import tempfile
    >>> from custom.cohorts.cases import example_cases
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     item = SlabDataset(example_cases(folder), seed=0, neighbours=1, foreign_slabs=2)[0]
    >>> item["image"].shape, item["foreign"].shape
    (torch.Size([3, 16, 16]), torch.Size([2, 3, 16, 16]))
    """

    def __init__(
        self,
        cases: Sequence[Case],
        seed: int,
        neighbours: int,
        foreign_slabs: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(cases, seed, slices="brain", **kwargs)
        self.neighbours, self.foreign_slabs = neighbours, foreign_slabs
        self.slab_seed = seed


class FixedSlabDataset(_Slabs, FixedSliceDataset):
    """Validation: the same slabs and foreign slabs each time.

    Args:
        cases, slices_per_case: see :class:`~custom.cohorts.dataset.FixedSliceDataset`.
        seed: chooses the foreign slabs.
        neighbours, foreign_slabs: see :class:`SlabDataset`.
        **kwargs: see :class:`~custom.cohorts.dataset.FixedSliceDataset`.

    >>> import tempfile
    >>> from custom.cohorts.cases import example_cases
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cases = example_cases(folder, "healthy_val")
    ...     dataset = FixedSlabDataset(cases, slices_per_case=2, seed=0, neighbours=1, foreign_slabs=1)
    >>> dataset[3]["slice"], dataset[3]["foreign"].shape
    (10, torch.Size([1, 3, 16, 16]))
    """

    def __init__(
        self,
        cases: Sequence[Case],
        slices_per_case: int,
        seed: int,
        neighbours: int,
        foreign_slabs: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(cases, slices_per_case, **kwargs)
        self.neighbours, self.foreign_slabs = neighbours, foreign_slabs
        self.slab_seed = derive_seed(seed, "validation")
