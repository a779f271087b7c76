# SPDX-License-Identifier: Apache-2.0
import pickle

import pytest
import torch

from custom.cohorts.cases import build_cases, datalist, load_case, role_of
from custom.cohorts.datasets import DATASETS
from custom.cohorts.split_csv import load_split
from custom.core.errors import ConfigError, DataError
from custom.preparation.prepare import preparation

pytestmark = [
    pytest.mark.fault(63, "`mask` or `seg` in a folder name", "means nothing", "foreseen"),
]

SETTINGS = preparation("standard", shape=(24, 24, 12))
NAMES = ["IXI001-A-1", "IXI002-A-2", "IXI003-A-3"]


def test_the_dictionary_of_a_case(make_root, tmp_path):
    root = make_root(train=NAMES, patients=["patient07"])
    (entry,) = datalist(root, "mslub", "val", "t1", preparation=SETTINGS, cache_dir=tmp_path / "c")
    case = load_case(pickle.loads(pickle.dumps(entry)))
    assert {k: case[k] for k in ("case_id", "dataset", "role", "label", "contrast", "notes")} == {
        "case_id": "patient07", "dataset": "mslub", "role": "val", "label": 1, "contrast": "t1", "notes": ""
    }  # fmt: skip
    assert case["image"].dtype == torch.float32
    assert case["mask"].dtype == case["seg"].dtype == torch.uint8
    assert case["image"].shape == case["mask"].shape == case["seg"].shape == (1, 24, 24, 12)
    assert case["seg"].sum() == 6 * 6 * 4
    assert case["affine"].tolist() == [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
    assert 0 <= case["image"].min() < case["image"].max() <= 1


def test_order_is_that_of_the_list_with_many_workers(make_root, tmp_path):
    root = make_root(train=NAMES)
    records = load_split(root, "ixi", "train", "t1", 0)[::-1]
    cases = build_cases(records, SETTINGS, tmp_path / "c", "train", workers=3)
    assert [c["case_id"] for c in cases] == NAMES[::-1]
    for case, alone in zip(cases, build_cases(records, SETTINGS, None, "train"), strict=True):
        assert torch.equal(load_case(case)["image"], load_case(alone)["image"])


def test_one_error_names_all_faulty_cases(make_root):
    root = make_root(train=NAMES)
    for name in NAMES[:2]:
        (root / f"Train/ixi/t1/{name}_t1.nii.gz").write_bytes(b"x")
    records = load_split(root, "ixi", "train", "t1", 0)
    with pytest.raises(DataError, match="2 of 3 scans cannot be used") as caught:
        build_cases(records, SETTINGS, None, "train")
    assert all(name in str(caught.value) for name in NAMES[:2])


def test_a_lost_cache_is_no_loss(make_root, tmp_path):
    root = make_root(train=NAMES)
    entry = build_cases(load_split(root, "ixi", "train", "t1", 0), SETTINGS, tmp_path / "c", "train")[0]
    before = load_case(entry)["image"]
    for file in (tmp_path / "c").rglob("*.npz"):
        file.unlink()
    assert torch.equal(load_case(entry)["image"], before)


@pytest.mark.parametrize(
    ("dataset", "split", "role"),
    [
        ("ixi", "train", "train"),
        ("ixi", "val", "healthy_val"),
        ("demo", "test", "healthy_test"),
        ("mslub", "test", "test"),
    ],
)
def test_roles(dataset, split, role):
    assert role_of(DATASETS[dataset], split) == role


def test_unknown_role():
    with pytest.raises(ConfigError, match="role must be one of"):
        build_cases([], role="training")


def test_paths_with_seg_and_mask_in_them_mean_nothing(make_root, tmp_path):
    """The role of a file comes from its column: a root called mask_seg must not change the image."""
    root = make_root(train=NAMES)
    plain = build_cases(load_split(root, "ixi", "train", "t1", 0), "isbi2024", None, "train")[0]
    moved = root.rename(tmp_path / "mask_seg_t1_t2")
    other = build_cases(load_split(moved, "ixi", "train", "t1", 0), "isbi2024", None, "train")[0]
    assert other["record"].image.is_relative_to(moved)
    assert torch.equal(load_case({**plain, "record": other["record"]})["image"], load_case(other)["image"])
