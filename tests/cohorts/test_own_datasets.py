# SPDX-License-Identifier: Apache-2.0
"""A data set of one's own: one JSON file in the data root, any contrast, no Python."""

import json

import nibabel as nib
import numpy as np
import pytest

from custom.cli.commands.check import _healthy_set
from custom.cohorts.cases import datalist
from custom.cohorts.datasets import get_dataset
from custom.cohorts.datasets.own import declare
from custom.cohorts.folds import make_splits
from custom.cohorts.gate import check, gate_splits
from custom.cohorts.split_csv import load_split
from custom.core.errors import ConfigError, DataError
from custom.evaluation.cases import standard_plan

pytestmark = [
    pytest.mark.fault(114),
]


def _declare(root, *entries):
    (root / "dataset.json").write_text(json.dumps({"datasets": list(entries)}), encoding="utf-8")


def _scans(root, folder, contrast, subjects, with_seg=False):
    index = np.indices((96, 96, 60)).transpose(1, 2, 3, 0)
    inside = (((index - [48, 48, 30]) / [34, 42, 28]) ** 2).sum(-1) < 1
    for number, subject in enumerate(subjects):
        rng = np.random.default_rng([number, len(folder)])
        image = np.where(inside, 500 + 50 * rng.standard_normal(inside.shape), 0).astype(np.float32)
        for kind, array in {
            contrast: image,
            "mask": inside,
            **({"seg": index[..., 0] == 40} if with_seg else {}),
        }.items():
            file = root / folder / kind / f"{subject}_{kind}.nii.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            stored = array if array.dtype == np.float32 else array.astype(np.uint8)
            nib.save(nib.Nifti1Image(stored, np.diag([2.0, 2, 2, 1])), file)


@pytest.mark.parametrize("contrast", ["pdw"])
def test_from_a_folder_of_scans_to_prepared_cases(tmp_path, contrast):
    _declare(
        tmp_path,
        {"name": "site", "healthy": True, "subject_pattern": "(sub-[0-9]+)"},
        {"name": "clinic", "healthy": False, "contrasts": [contrast]},
    )
    _scans(tmp_path, "Train/site", contrast, [f"sub-{n:02}_ses-{s}" for n in range(6) for s in (1, 2)])
    _scans(tmp_path, "Test/clinic", contrast, ["p1", "p2", "p3"], with_seg=True)
    assert get_dataset("site", tmp_path).contrasts == (contrast,)
    for name in ("site", "clinic"):
        make_splits(tmp_path, name, folds=2)
    assert [found for found in check(tmp_path).faults if found.severity == "error"] == []
    assert _healthy_set(tmp_path) == ["--dataset_name", "site", "--contrast", contrast]  # of the next command
    train = load_split(tmp_path, "site", "train", contrast, fold=0)
    val = load_split(tmp_path, "site", "val", contrast, fold=0)
    assert {r.image.parent.name for r in train} == {contrast}
    assert {r.subject for r in train} & {r.subject for r in val} == set()  # two sessions of a person stay together
    assert all(len(r.subject) == 6 for r in train)
    (case, *_) = datalist(tmp_path, "clinic", "test", contrast)
    assert case["role"] == "test"
    plan = standard_plan("site", ["clinic"], data_root=tmp_path)
    assert plan.healthy_calibration == "site/val"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "My Site", "healthy": True}, "lower-case letters"),
        ({"name": "site"}, "'healthy' must be true"),
        ({"name": "site", "healthy": "yes"}, "'healthy' must be true"),
        ({"name": "site", "healthy": True, "contrast": "t1"}, "unknown contrast"),
        ({"name": "site", "healthy": True, "contrasts": ["T2 w"]}, "'contrasts' must be a list"),
        ({"name": "site", "healthy": True, "contrasts": ["mask"]}, "'contrasts' must be a list"),
        ({"name": "site", "healthy": True, "contrasts": []}, "'contrasts' must be a list"),
        ({"name": "site", "healthy": True, "folder": "../elsewhere", "contrasts": ["t1"]}, "relative to the data root"),
        ({"name": "site", "healthy": True, "subject_pattern": "(", "contrasts": ["t1"]}, "no regular expression"),
        ({"name": "site", "healthy": True, "subject_pattern": "sub", "contrasts": ["t1"]}, "needs a group"),
        ({"name": "site", "healthy": False, "splits": ["train"], "contrasts": ["t1"]}, "some of val, test"),
        ({"name": "site", "healthy": False, "splits": "test", "contrasts": ["t1"]}, "must be a list"),
        ({"name": "ixi", "healthy": True, "contrasts": ["t1"]}, "is built in"),
        ({"name": "site", "healthy": True, "title": 3, "contrasts": ["t1"]}, "must be a text"),
    ],
)
def test_faults_of_the_file_are_sentences(tmp_path, entry, message):
    _declare(tmp_path, entry)
    with pytest.raises(ConfigError, match=message) as caught:
        get_dataset("site", tmp_path)
    assert "dataset.json" in str(caught.value)


def test_no_json_and_two_of_a_name(tmp_path):
    (tmp_path / "dataset.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        get_dataset("ixi", tmp_path)
    _declare(tmp_path, *[{"name": "site", "healthy": True, "contrasts": ["t1"]}] * 2)
    with pytest.raises(ConfigError, match="two data sets"):
        get_dataset("site", tmp_path)


def test_an_unknown_name_says_where_to_declare_it(tmp_path):
    with pytest.raises(ConfigError, match=r"dataset\.json"):
        get_dataset("mysite", tmp_path)


def test_a_data_set_is_declared_once(tmp_path):
    (tmp_path / "Train/site/flair").mkdir(parents=True)
    assert declare(tmp_path, "site", True, "([^_]+)") == tmp_path / "dataset.json"
    written = (tmp_path / "dataset.json").read_text(encoding="utf-8")
    assert declare(tmp_path, "site", True, "([^_]+)") is None
    assert (tmp_path / "dataset.json").read_text(encoding="utf-8") == written
    assert get_dataset("site", tmp_path).contrasts == ("flair",)
    assert get_dataset("site", tmp_path).subject_of("sub-1_ses-2") == "sub-1"
    with pytest.raises(ConfigError, match="holds healthy scans, the new scans are patients"):
        declare(tmp_path, "site", False, "([^_]+)")
    with pytest.raises(ConfigError, match="lower-case letters"):
        declare(tmp_path, "Clinic", False, "([^_]+)")
    (tmp_path / "Test/clinic/t1").mkdir(parents=True)
    declare(tmp_path, "clinic", False, "([^_]+)")
    assert get_dataset("site", tmp_path).healthy
    assert not get_dataset("clinic", tmp_path).healthy


def test_patients_without_a_val_list_tune_no_threshold(tmp_path):
    _declare(
        tmp_path,
        {"name": "site", "healthy": True, "contrasts": ["t1"]},
        {"name": "clinic", "healthy": False, "contrasts": ["t1"]},
        {"name": "planted", "healthy": False, "contrasts": ["t1"], "splits": ["test"]},
    )
    plan = standard_plan("site", ["clinic", "planted"], data_root=tmp_path)
    assert plan.tests == {"clinic/test": "clinic/val", "planted/test": None}
    plan = standard_plan("site", ["planted"], tuning_sets={"planted": "clinic"}, data_root=tmp_path)
    assert plan.tests == {"planted/test": "clinic/val"}


def test_an_evaluation_takes_the_patients_that_have_lists_in_the_data_root(tmp_path):
    _declare(
        tmp_path,
        {"name": "site", "healthy": True, "contrasts": ["flair"]},
        {"name": "clinic", "healthy": False, "contrasts": ["flair"]},
        {"name": "planted", "healthy": False, "contrasts": ["flair"], "splits": ["test"]},
        {"name": "other", "healthy": False, "contrasts": ["t1"]},
    )
    with pytest.raises(ConfigError, match=r"no test list of patients with FLAIR scans, so .*uad plant"):
        standard_plan("site", data_root=tmp_path, contrast="flair")
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/other_test.csv").touch()
    with pytest.raises(ConfigError, match=r"in other contrasts: other"):
        standard_plan("site", data_root=tmp_path, contrast="flair")
    for name in ("clinic", "planted"):
        (tmp_path / f"splits/{name}_test.csv").touch()
    plan = standard_plan("site", data_root=tmp_path, contrast="flair")
    assert plan.tests == {"clinic/test": "clinic/val", "planted/test": None}


@pytest.mark.parametrize("healthy", [True, False])
def test_an_undeclared_set_is_refused_with_the_file_that_declares_it(tmp_path, healthy):
    (tmp_path / ("Train" if healthy else "Test") / "site" / "t2").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"declared in .*dataset.json: ") as refused:
        get_dataset("site", tmp_path)
    (tmp_path / "dataset.json").write_text(str(refused.value).split("dataset.json: ")[1], encoding="utf-8")
    assert get_dataset("site", tmp_path).healthy == healthy


def test_patients_without_the_healthy_scans_of_the_model_are_told_where_those_belong(tmp_path):
    with pytest.raises(
        DataError, match="nor does Train/ixi: the healthy scans of ixi belong into the same data folder"
    ):
        gate_splits(tmp_path, "ixi", "t1", 0, ("val",))
    (tmp_path / "Train" / "ixi").mkdir(parents=True)
    with pytest.raises(DataError, match=r"the list does not exist\n"):
        gate_splits(tmp_path, "ixi", "t1", 0, ("val",))
