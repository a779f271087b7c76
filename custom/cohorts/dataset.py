# SPDX-License-Identifier: Apache-2.0
"""MONAI data sets: whole cases for evaluation, single axial slices for training and validation.

Training sees, as in the papers, one random axial slice per scan and epoch. Which one is a hash of (seed, epoch, case),
so neither the order of the scans nor the number of workers matters. All volumes stay in memory as one compact array
(358 scans: 660 MB float32, 330 MB float16, 165 MB uint8, plus masks), best that of the GPU which trains: a batch is then
one gather there, and the host only draws numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from monai.data import Dataset
from torch import Tensor

from ..core.errors import ConfigError, DataError
from ..core.progress import progress
from ..core.seeding import derive_seed, sent_to
from .cases import Case, load_case

Key = int | tuple[int, int] | tuple[int, int, int]
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "uint8": torch.uint8}


class CaseDataset(Dataset):
    """One prepared volume per item, read from the cache when it is asked for; ``transform`` gets its dictionary.

    >>> import tempfile
    >>> from custom.cohorts.cases import example_cases
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     case = CaseDataset(example_cases(folder, "test"))[0]
    >>> case["case_id"], case["image"].shape, case["role"]
    ('A', torch.Size([1, 16, 16, 16]), 'test')
    """

    def __init__(self, cases: Sequence[Case], transform: Callable[..., Any] | None = None) -> None:
        super().__init__(list(cases), transform)

    def _transform(self, index: int) -> Any:
        return self.transform(load_case(self.data[index]))


class _SlicesInMemory(Dataset, ABC):
    """Volumes of all cases as ``[case, slice, 1, X, Y]`` arrays, and the axial slices that may be used of each."""

    def __init__(
        self,
        cases: Sequence[Case],
        transform: Callable[..., Any] | None,
        slices: Literal["all", "brain"],
        dtype: str,
        device: torch.device | str,
    ) -> None:
        super().__init__(list(cases), transform)
        if not cases:
            raise DataError("no scan for this data set; look at the split list and at the scans left out before")
        if dtype not in _DTYPES or slices not in ("all", "brain"):
            raise ConfigError(
                f"dtype {dtype!r} must be one of {', '.join(_DTYPES)}, slices {slices!r} 'all' or 'brain'"
            )
        self._transforms = transform is not None  # an empty Compose takes a quarter of an item
        self.usable: list[list[int]] = []
        for number, case in enumerate(progress(self.data, desc="loading scans", unit="scan")):
            loaded = load_case(case)
            image, mask = (loaded[key].permute(3, 0, 1, 2) for key in ("image", "mask"))
            if number == 0:  # filled in place: a list that is stacked at the end would need twice the memory
                self.images = torch.empty((len(cases), *image.shape), dtype=_DTYPES[dtype], device=device)
                self.masks = torch.empty((len(cases), *mask.shape), dtype=mask.dtype, device=device)
            self.images[number] = _stored(image, _DTYPES[dtype], case["case_id"])
            self.masks[number] = mask
            brain = mask.flatten(1).any(dim=1)
            self.usable.append(brain.nonzero().flatten().tolist() if slices == "brain" else list(range(len(mask))))

    def __getitem__(self, key: Any) -> Any:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Any]) -> list[Any]:
        """Return the items of a batch, gathered at once; torch's ``DataLoader`` asks for them in this way."""
        places = [self._place(key) for key in keys]
        images, masks = self._gathered([(case, index) for case, index, _, _ in places])
        items = [
            {"image": image, "mask": mask, **self._names(*place)}
            for image, mask, place in zip(images, masks, places, strict=True)
        ]
        return [self.transform(item) for item in items] if self._transforms else items

    def _gathered(self, slices: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Return images (float32) and masks ``[n, 1, X, Y]`` of the slices that (case, slice) name."""
        flat = torch.tensor([case * self.images.shape[1] + index for case, index in slices])
        flat = sent_to(flat, self.images.device)
        images, masks = (array.flatten(0, 1).index_select(0, flat) for array in (self.images, self.masks))
        return images.float() / 255 if images.dtype == torch.uint8 else images.float(), masks

    def _names(self, case: int, index: int, epoch: int, position: int) -> dict[str, Any]:
        return {"case_id": self.data[case]["case_id"], "slice": index, "epoch": epoch, "position": position}

    @abstractmethod
    def _place(self, key: Any) -> tuple[int, int, int, int]:
        """Return the numbers of case and slice, epoch and position of the item ``key``."""


class SliceDataset(_SlicesInMemory):
    """Training: one random axial slice per scan and epoch.

    Keys are ``(epoch, index)`` or ``(epoch, index, position)`` as :class:`custom.training.sampler.EpochSampler` gives
    them; a plain ``index`` means epoch 0. Items: ``image`` float32 and ``mask`` uint8 ``[1, X, Y]``, ``case_id``,
    ``slice``, ``epoch``, and ``position``, the place of the sample in its epoch.

    Args:
        cases: datalist of healthy scans, at least two.
        seed: seed of the run.
        slices: "all" axial slices or only those with "brain".
        dtype: storage in memory; "uint8" (error up to 1/510) needs images within [0, 1].
        transform: MONAI transform applied to the item.
        slices_per_case: slices drawn of every scan in an epoch; the papers take one.
        device: where the arrays are kept and items come from.

    >>> import tempfile
    >>> from custom.cohorts.cases import example_cases
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dataset = SliceDataset(example_cases(folder), seed=0)
    >>> epoch_3 = [dataset[3, index] for index in range(len(dataset))]
    >>> [item["case_id"] for item in epoch_3], epoch_3[0]["image"].shape
    (['A', 'B'], torch.Size([1, 16, 16]))
    """

    def __init__(
        self,
        cases: Sequence[Case],
        seed: int,
        slices: Literal["all", "brain"] = "all",
        dtype: Literal["float32", "float16", "uint8"] = "float32",
        transform: Callable[..., Any] | None = None,
        slices_per_case: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if slices_per_case < 1:
            raise ConfigError(f"slices_per_case must be at least 1, got {slices_per_case}")
        if len(cases) < 2:
            raise DataError(f"{len(cases)} training scans; at least 2 are needed, look at the training list")
        super().__init__(cases, transform, slices, dtype, device)
        self.seed = seed
        self.slices_per_case = slices_per_case

    def __len__(self) -> int:
        return len(self.data) * self.slices_per_case

    def _place(self, key: Key) -> tuple[int, int, int, int]:
        epoch, index, *rest = key if isinstance(key, tuple) else (0, key)
        case, nth = divmod(index, self.slices_per_case)
        usable = self.usable[case]
        draw = derive_seed(self.seed, "slice", epoch, self.data[case]["case_id"], nth)
        return case, usable[draw % len(usable)], epoch, rest[0] if rest else index


class FixedSliceDataset(_SlicesInMemory):
    """Validation: the same evenly spaced brain slices of every scan each time, without augmentation.

    Args:
        cases: datalist of healthy scans.
        slices_per_case: number of slices of each scan.
        dtype, transform, device: see :class:`SliceDataset`; items have the same keys, their epoch is 0.
        repeats: how often all slices come, one round behind the other; what is drawn for a slice differs between the rounds.

    >>> import tempfile
    >>> from custom.cohorts.cases import example_cases
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dataset = FixedSliceDataset(example_cases(folder, "healthy_val"), slices_per_case=2)
    >>> [(item["case_id"], item["slice"]) for item in dataset]
    [('A', 6), ('A', 10), ('B', 6), ('B', 10)]
    """

    def __init__(
        self,
        cases: Sequence[Case],
        slices_per_case: int,
        dtype: Literal["float32", "float16", "uint8"] = "float32",
        transform: Callable[..., Any] | None = None,
        device: torch.device | str = "cpu",
        repeats: int = 1,
    ) -> None:
        if slices_per_case < 1 or repeats < 1:
            raise ConfigError(f"slices_per_case and repeats must be at least 1, got {slices_per_case} and {repeats}")
        super().__init__(cases, transform, "brain", dtype, device)
        self.slices_per_case, self.repeats = slices_per_case, repeats

    def __len__(self) -> int:
        return len(self.data) * self.slices_per_case * self.repeats

    def _place(self, index: int) -> tuple[int, int, int, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        case, nth = divmod(index % (len(self) // self.repeats), self.slices_per_case)
        usable = self.usable[case]
        return case, usable[(2 * nth + 1) * len(usable) // (2 * self.slices_per_case)], 0, index


def _stored(image: Tensor, dtype: torch.dtype, case_id: str) -> Tensor:
    if dtype != torch.uint8:
        return image.to(dtype).contiguous()
    if image.min() < 0 or image.max() > 1:
        raise ConfigError(
            f"{case_id}: intensities {image.min():.3g}..{image.max():.3g} do not fit uint8, which stands for [0, 1]; "
            "take dtype float16, or a preparation with clip_and_mask"
        )
    return (image * 255).round().to(torch.uint8).contiguous()
