# SPDX-License-Identifier: Apache-2.0
"""Leaks and other faults that the names in split lists show."""

from pathlib import Path

import numpy as np
import pytest

from custom.cohorts.datasets import get_dataset
from custom.cohorts.folds import plan_folds
from custom.cohorts.gate.cohort import name_faults
from custom.cohorts.gate.lists import Split
from custom.volumes.records import ScanRecord

pytestmark = [
    pytest.mark.fault(33, "a scan twice in a list", "error", "foreseen"),
    pytest.mark.fault(
        34, "a subject, or the same voxels, in training and test", "error by id, by hash and by correlation", "foreseen"
    ),
    pytest.mark.fault(35, "overlapping folds, missing fold, empty list", "error", "foreseen"),
    pytest.mark.fault(36, "patient in the healthy list", "error by label and by lesion voxels", "foreseen"),
    pytest.mark.fault(37, "fewer than two training scans", "error", "foreseen"),
]


def record(subject: str, label: int = 0, case: str = "") -> ScanRecord:
    return ScanRecord(subject, case or subject, "t1", Path("x.nii"), None, None, label, None, "ixi")


def split(part: str, subjects: str, fold: int | None = None, healthy: bool = True, dataset: str = "ixi") -> Split:
    records = tuple(record(s, int(not healthy)) for s in subjects.split())
    return Split(dataset, part, fold, healthy, records)


def found(*splits: Split) -> dict[str, str]:
    (dataset,) = {split.dataset for split in splits}
    return {fault.code: fault.case for fault in name_faults(splits, get_dataset(dataset, "."))}


CLEAN = [
    split("train", "a b c", 0),
    split("val", "d", 0),
    split("train", "a b d", 1),
    split("val", "c", 1),
    split("test", "e f"),
]


def test_clean_lists_pass():
    assert found(*CLEAN) == {}


@pytest.mark.parametrize(
    ("extra", "code", "subjects", "lists"),
    [
        (split("val", "b q", 0), "leak-subject", "b", "train fold 0 / val fold 0"),
        (split("test", "c q"), "leak-subject", "c", "val fold 1 / test"),
        (split("val", "d q", 2), "leak-subject", "d", "val fold 0 / val fold 2"),
        (split("train", "", 0), "list-empty", "", "train fold 0"),
        (split("train", "z", 0), "too-few", "z", "train fold 0"),
        (split("train", "x x y", 0), "duplicate-scan", "x", "train fold 0"),
        (Split("ixi", "train", 0, True, (record("x"), record("y", 1))), "pathology-in-healthy", "y", "train fold 0"),
    ],
)
def test_each_fault_is_found_and_named(extra, code, subjects, lists):
    hits = [fault for fault in name_faults([*CLEAN, extra], get_dataset("ixi", ".")) if fault.code == code]
    assert {fault.case for fault in hits} == {subjects}
    assert lists in {fault.split for fault in hits}
    assert all(fault.file.startswith("splits/IXI_") for fault in hits)


def test_training_lists_of_other_folds_may_share_subjects_with_val():
    assert "leak-subject" not in found(
        split("train", "a b", 0), split("val", "c", 0), split("train", "a c", 1), split("val", "b", 1)
    )


def test_val_and_test_of_patients():
    assert found(split("val", "p1", None, False, "mslub"), split("test", "p1 p2", None, False, "mslub")) == {
        "leak-subject": "p1"
    }


def test_two_sessions_warn_only():
    sessions = Split("ixi", "train", 0, True, (record("a", case="a_1"), record("a", case="a_2"), record("b")))
    (warning,) = name_faults([sessions, split("val", "c", 0)], get_dataset("ixi", "."))
    assert (warning.code, warning.severity, warning.case) == ("repeated-subject", "warning", "a")


def test_splits_like_the_circulating_ones():
    """Folds drawn anew from index rows, with subjects that have two rows: duplicates, leaks, overlapping folds."""
    rng = np.random.default_rng(5)
    rows = [f"IXI{i:03d}" for i in range(60)] + [f"IXI{i:03d}" for i in range(6)]  # six subjects have two rows
    order = rng.permutation(len(rows))
    test, rest = order[:16], order[16:]
    splits = [Split("ixi", "test", None, True, tuple(record(rows[i]) for i in test))]
    for fold in range(5):
        mixed = rng.permutation(rest)
        splits.append(Split("ixi", "val", fold, True, tuple(record(rows[i]) for i in mixed[:8])))
        splits.append(Split("ixi", "train", fold, True, tuple(record(rows[i]) for i in mixed[8:])))
    faults = list(name_faults(splits, get_dataset("ixi", ".")))
    messages = [fault.case for fault in faults if fault.severity == "error"]
    test_subjects = {rows[i] for i in test}
    leaked = test_subjects & {rows[i] for i in rest}
    assert leaked
    assert leaked <= {f"IXI{i:03d}" for i in range(6)}
    for subject in leaked:
        assert any(subject in message for message in messages)
    pairs = {tuple(f.split.split(" / ")): set(f.case.split(", ")) for f in faults if f.code == "leak-subject"}
    assert set().union(*(subjects for names, subjects in pairs.items() if "test" in names)) == leaked
    assert sum(a.startswith("val") and b.startswith("val") for a, b in pairs) >= 5
    plan = plan_folds(rows)  # the remedy
    clean = [Split("ixi", "test", None, True, tuple(map(record, plan.test)))]
    for fold in range(5):
        clean.append(Split("ixi", "val", fold, True, tuple(map(record, plan.val[fold]))))
        clean.append(Split("ixi", "train", fold, True, tuple(map(record, plan.train(fold)))))
    assert found(*clean) == {}
