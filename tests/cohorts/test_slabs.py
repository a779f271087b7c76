# SPDX-License-Identifier: Apache-2.0
import nibabel as nib
import numpy as np
import pytest
import torch

from custom.cohorts import slabs
from custom.cohorts.cases import build_cases, load_case
from custom.cohorts.mixture import gate_sources, mixed_datalist
from custom.cohorts.slabs import FixedSlabDataset, SlabDataset
from custom.cohorts.split_csv import load_split
from custom.core.errors import ConfigError, DataError
from custom.preparation.prepare import preparation

PREPARATION = preparation("standard", shape=(24, 20, 12))
NAMES = [f"IXI{i:03d}-A-{i}" for i in range(6)]


@pytest.fixture
def cases(make_root, tmp_path):
    root = make_root(train=NAMES)
    return build_cases(load_split(root, "ixi", "train", "t1", 0), PREPARATION, tmp_path / "cache", "train")


def test_a_slab_is_a_slice_with_its_neighbours(cases):
    dataset = SlabDataset(cases, seed=0, neighbours=2, foreign_slabs=0, slices_per_case=3)
    for key in [(0, 1), (4, 7), (2, 17)]:
        item = dataset[key]
        volume = load_case(cases[key[1] // 3])
        for channel, step in enumerate(range(-2, 3)):
            height = min(max(item["slice"] + step, 0), 11)
            assert torch.equal(item["image"][channel], volume["image"][0, ..., height])
            assert torch.equal(item["mask"][channel], volume["mask"][0, ..., height])
        assert item["mask"][2].any()
        assert item["case_id"] == volume["case_id"]


def test_foreign_slabs_are_of_others_near_by_and_repeatable(cases, monkeypatch):
    monkeypatch.setattr(slabs, "FOREIGN_DISTANCE", 2)
    dataset, again = (SlabDataset(cases, seed=4, neighbours=1, foreign_slabs=3) for _ in range(2))
    volumes = [load_case(case) for case in cases]
    owners = set()
    for epoch in range(4):
        for index in range(6):
            item = dataset[epoch, index]
            assert torch.equal(item["foreign"], again[epoch, index]["foreign"])
            for slab, mask in zip(item["foreign"], item["foreign_mask"], strict=True):
                found = [
                    (number, height)
                    for number, volume in enumerate(volumes)
                    for height in range(12)
                    if torch.equal(slab[1], volume["image"][0, ..., height])
                    and torch.equal(mask[1], volume["mask"][0, ..., height])
                ]
                owner, height = found[0]
                assert owner != index
                assert abs(height - item["slice"]) <= 2 or not slab[1].any()
                owners.add(owner)
    assert owners == set(range(6))


def test_validation_slabs_never_change(cases):
    one, two = (FixedSlabDataset(cases, slices_per_case=3, seed=1, neighbours=1, foreign_slabs=2) for _ in range(2))
    assert len(one) == 18
    for index in range(18):
        for key in ("image", "foreign", "foreign_mask"):
            assert torch.equal(one[index][key], two[index][key])


def test_storage_changes_nothing_but_rounding(cases):
    exact, half = (
        SlabDataset(cases, seed=0, neighbours=1, foreign_slabs=1, dtype=dtype)[0, 3] for dtype in ("float32", "float16")
    )
    torch.testing.assert_close(half["image"], exact["image"], atol=5e-4, rtol=0)
    torch.testing.assert_close(half["foreign"], exact["foreign"], atol=5e-4, rtol=0)


def test_the_mean_volume_is_the_mean_of_the_scans(cases):
    mean = SlabDataset(cases, seed=0, neighbours=1, foreign_slabs=0).mean_volume()
    torch.testing.assert_close(mean, torch.stack([load_case(case)["image"][0] for case in cases]).mean(0))


def test_several_sources_become_one_list(make_root, tmp_path):
    root = make_root(train=NAMES[:5], val=NAMES[5:])
    sources = [{"data_root": str(root), "dataset": "ixi"}] * 2
    found = mixed_datalist(sources, "train", "t1", 0, PREPARATION, tmp_path / "cache")
    assert [case["case_id"] for case in found] == NAMES[:5] * 2
    for wrong in (
        {"data_root": str(root)},
        {"data_root": str(root), "dataset": "mslub"},
        {**sources[0], "contrasts": "t2"},
    ):
        with pytest.raises(ConfigError, match="a source of healthy scans is"):
            mixed_datalist([wrong], "train", "t1", 0, PREPARATION)


def test_a_source_may_be_of_another_contrast(make_root, tmp_path):
    root = make_root(train=NAMES[:5], val=NAMES[5:], contrasts=("t1", "t2"))
    for path in (root / "Train" / "ixi" / "t2").iterdir():  # or both contrasts are the same voxels
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.where(image.get_fdata() > 0, 300 - image.get_fdata(), 0), image.affine), path)
    source = {"data_root": str(root), "dataset": "ixi"}
    found = mixed_datalist([source, {**source, "contrast": "t2"}], "train", "t1", 0, PREPARATION, tmp_path / "cache")
    assert [case["case_id"] for case in found] == NAMES[:5] * 2
    t1, t2 = (load_case(found[number])["image"] for number in (0, 5))
    assert torch.corrcoef(torch.stack([t1[t1 > 0], t2[t1 > 0]]))[0, 1] < -0.9
    (root / "Train" / "ixi" / "t2").rename(root / "elsewhere")
    gate_sources([source], "t1", 0)
    with pytest.raises(DataError, match="none of the 6 t2 images of IXI exists"):
        gate_sources([source, {**source, "contrast": "t2"}], "t1", 0)
    with pytest.raises(ConfigError, match="flair"):
        mixed_datalist([{**source, "contrast": "flair"}], "train", "t1", 0, PREPARATION)
