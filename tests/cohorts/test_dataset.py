# SPDX-License-Identifier: Apache-2.0
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, list_data_collate

from custom.cohorts.cases import build_cases, load_case
from custom.cohorts.dataset import CaseDataset, FixedSliceDataset, SliceDataset
from custom.cohorts.split_csv import load_split
from custom.core.errors import ConfigError, DataError
from custom.preparation.prepare import preparation
from custom.training.sampler import EpochSampler

SETTINGS = preparation("standard", shape=(24, 20, 12))
NAMES = [f"IXI{i:03d}-A-{i}" for i in range(6)]


@pytest.fixture
def cases(make_root, tmp_path):
    root = make_root(train=NAMES)
    return build_cases(load_split(root, "ixi", "train", "t1", 0), SETTINGS, tmp_path / "cache", "train")


def test_cases_one_by_one(cases):
    dataset = CaseDataset(cases, lambda case: {**case, "extra": 1})
    assert len(dataset) == 6
    item = dataset[2]
    assert item["case_id"] == NAMES[2]
    assert item["extra"] == 1
    assert torch.equal(item["image"], load_case(cases[2])["image"])
    batch = next(iter(DataLoader(dataset, batch_size=3, collate_fn=list_data_collate)))
    assert batch["image"].shape == (3, 1, 24, 20, 12)
    assert [case["case_id"] for case in dataset[1:3]] == NAMES[1:3]


def test_an_item_is_the_slice_it_says(cases):
    dataset = SliceDataset(cases, seed=0)
    for epoch in range(3):
        for index in range(6):
            item = dataset[epoch, index]
            volume = load_case(cases[index])
            assert torch.equal(item["image"], volume["image"][..., item["slice"]])
            assert torch.equal(item["mask"], volume["mask"][..., item["slice"]])
            assert item["image"].shape == item["mask"].shape == (1, 24, 20)
            assert (item["case_id"], item["epoch"], item["position"]) == (NAMES[index], epoch, index)
    assert dataset[1, 2, 5]["position"] == 5
    assert dataset[4]["slice"] == dataset[0, 4]["slice"]


def drawn(dataset, epochs=40):
    return {(e, dataset[e, i]["case_id"]): dataset[e, i]["slice"] for e in range(epochs) for i in range(len(dataset))}


def test_the_draw_depends_on_seed_epoch_and_case_only(cases):
    slices = drawn(SliceDataset(cases, seed=0))
    assert slices == drawn(SliceDataset(cases[::-1], seed=0))
    assert slices != drawn(SliceDataset(cases, seed=1))
    assert slices == drawn(SliceDataset(cases, seed=0, dtype="float16"))


def test_draws_are_uniform_over_the_usable_slices(cases):
    every = SliceDataset(cases, seed=3)
    counts = np.bincount(list(drawn(every, 200).values()), minlength=12)
    assert ((counts - 100) ** 2 / 100).sum() < 31.3  # chi-squared, 11 degrees of freedom, p = 0.001; the seed is fixed
    brain = SliceDataset(cases, seed=3, slices="brain")
    usable = load_case(cases[0])["mask"].flatten(0, 2).any(dim=0).nonzero().flatten().tolist()
    assert usable != list(range(12))
    assert set(drawn(brain).values()) == set(usable)


def test_compact_storage(cases):
    exact = SliceDataset(cases, seed=0)
    for dtype, tolerance in (("float16", 2.5e-4), ("uint8", 1 / 510 + 1e-6)):
        compact = SliceDataset(cases, seed=0, dtype=dtype)
        assert compact.images.dtype == getattr(torch, dtype)
        assert compact[0, 1]["image"].dtype == torch.float32
        difference = (compact[0, 1]["image"] - exact[0, 1]["image"]).abs().max()
        assert 0 < difference <= tolerance


def test_an_item_may_be_changed_without_changing_the_store(cases):
    dataset = SliceDataset(cases, seed=0)
    before = dataset[0, 0]["image"].clone()
    for key in ("image", "mask"):
        dataset[0, 0][key].fill_(9)
    assert torch.equal(dataset[0, 0]["image"], before)
    assert dataset[0, 0]["mask"].max() <= 1


def test_uint8_refuses_overshoot(make_root):
    """At 1 mm the preset of the released code interpolates beyond [0, 1]; at 2 mm it stays inside."""
    root = make_root(train=NAMES[:2], shape=(24, 24, 24))
    files = sorted((root / "Train").rglob("*.nii.gz"))
    for spacing in (2, 1):
        for file in files:
            image = nib.load(file)
            nib.save(nib.Nifti1Image(np.asarray(image.dataobj), np.diag([spacing, spacing, spacing, 1])), file)
        records = load_split(root, "ixi", "train", "t1", 0)
        cases = build_cases(records, preparation("isbi2024", shape=(12, 12, 12)), None, "train")
        if spacing == 2:
            assert SliceDataset(cases, seed=0, dtype="uint8").images.max() == 255
        else:
            with pytest.raises(ConfigError, match=r"IXI000-A-0: intensities .* do not fit uint8"):
                SliceDataset(cases, seed=0, dtype="uint8")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_through_a_loader(cases, workers):
    dataset = SliceDataset(cases, seed=0)
    sampler = EpochSampler(len(dataset), 3, seed=0)
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers)
    assert len(loader) == 2
    sampler.set_epoch(5)
    batches = list(loader)
    assert [b["position"].tolist() for b in batches] == [[0, 1, 2], [3, 4, 5]]
    assert all((b["epoch"] == 5).all() for b in batches)
    names = [name for batch in batches for name in batch["case_id"]]
    assert names == [NAMES[i] for i in sampler.order(5)]
    expected = dataset[5, sampler.order(5)[4], 4]
    assert torch.equal(batches[1]["image"][1], expected["image"])


def test_fixed_slices(cases):
    dataset = FixedSliceDataset(cases, slices_per_case=4)
    assert len(dataset) == 24
    first = [dataset[i] for i in range(24)]
    assert [item["slice"] for item in first] == [dataset[i]["slice"] for i in range(24)]
    assert [item["case_id"] for item in first] == [name for name in NAMES for _ in range(4)]
    assert [item["position"] for item in first] == list(range(24))
    for item in first:
        assert item["mask"].any()
    chosen = [item["slice"] for item in first[:4]]
    usable = load_case(cases[0])["mask"].flatten(0, 2).any(dim=0).nonzero().flatten().tolist()
    assert sorted(set(chosen)) == chosen
    assert np.mean(chosen) == pytest.approx(np.mean(usable), abs=1)
    assert dataset[-1]["position"] == 23
    with pytest.raises(IndexError):
        dataset[24]


def test_repeated_fixed_slices_come_again_at_places_of_their_own(cases):
    """What is drawn for an item belongs to its position, so that each round has masks of its own."""
    once, thrice = FixedSliceDataset(cases, 2), FixedSliceDataset(cases, 2, repeats=3)
    assert len(thrice) == 3 * len(once)
    items = thrice.__getitems__(list(range(len(thrice))))
    assert [int(item["position"]) for item in items] == list(range(len(thrice)))
    for index, item in enumerate(items):
        assert torch.equal(item["image"], once[index % len(once)]["image"])
    with pytest.raises(ConfigError, match="repeats must be at least 1"):
        FixedSliceDataset(cases, 2, repeats=0)


def test_too_few_cases_or_wrong_options(cases):
    with pytest.raises(DataError, match="1 training scans"):
        SliceDataset(cases[:1], seed=0)
    with pytest.raises(DataError, match="no scan"):
        FixedSliceDataset([], 2)
    with pytest.raises(ConfigError, match="dtype 'int8'"):
        SliceDataset(cases, seed=0, dtype="int8")
    with pytest.raises(ConfigError, match="at least 1"):
        FixedSliceDataset(cases, 0)
