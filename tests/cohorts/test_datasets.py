# SPDX-License-Identifier: Apache-2.0
import pytest

from custom.cohorts.datasets import DATASETS, get_dataset
from custom.core.errors import ConfigError


def test_all_data_sets_are_found():
    assert set(DATASETS) == {
        "ixi", "brats21", "mslub", "atlas_v2", "wmh", "tcga_lgg",
        "demo", "demo_tumour", "demo_ms", "demo_stroke", "demo_wmh",
    }  # fmt: skip


@pytest.mark.parametrize("name", DATASETS)
def test_declarations_are_complete(name):
    declared = DATASETS[name]
    assert declared.name == name
    assert declared.citation
    assert declared.licence
    assert declared.how_to_get
    assert set(declared.split_files) == ({"train", "val", "test"} if declared.healthy else {"val", "test"})
    assert set(declared.expected_counts) <= set(declared.split_files)
    assert set(declared.contrasts) <= {"t1", "t2", "flair"}


def test_file_names_of_the_papers():
    names = [
        get_dataset("ixi", ".").split_file("train", 3),
        get_dataset("ixi", ".").split_file("val", 0),
        get_dataset("ixi", ".").split_file("test"),
    ]
    assert names == ["IXI_train_fold3.csv", "IXI_val_fold0.csv", "IXI_test.csv"]
    assert get_dataset("brats21", ".").split_file("val") == "Brats21_val.csv"
    assert get_dataset("atlas_v2", ".").split_file("test", fold=2) == "ATLAS_v2_test.csv"
    assert get_dataset("demo", ".").split_file("train", 1) == "demo_train_fold1.csv"
    assert get_dataset("demo_tumour", ".").split_file("val") == "demo_tumour_val.csv"


@pytest.mark.parametrize(("typed", "meant"), [("IXI", "ixi"), ("brats", "brats21"), ("demo_tumor", "demo_tumour")])
def test_did_you_mean(typed, meant):
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        get_dataset(typed, ".")


@pytest.mark.parametrize(
    ("dataset", "case", "subject"),
    [
        ("ixi", "IXI105-HH-1471", "IXI105"),
        ("atlas_v2", "sub-r031s006_ses-1_space-MNI152NLin2009aSym", "sub-r031s006"),
        ("wmh", "Singapore_64", "Singapore_64"),
        ("mslub", "patient26", "patient26"),
    ],
)
def test_subject_of_a_case(dataset, case, subject):
    assert get_dataset(dataset, ".").subject_of(case) == subject


def test_counts_differ_from_the_papers():
    assert get_dataset("atlas_v2", ".").count_note("val", 175) is None
    assert get_dataset("atlas_v2", ".").count_note("val", 66) == "ATLAS v2.0 val: 66 scans, the papers have 175"
