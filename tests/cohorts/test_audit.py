# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from custom.cohorts.audit import Split, audit_splits, load_splits
from custom.cohorts.folds import plan_folds
from custom.core.errors import DataError
from custom.volumes.records import ScanRecord


def record(subject: str, label: int = 0, case: str = "", seg: Path | None = None) -> ScanRecord:
    return ScanRecord(subject, case or subject, "t1", Path("x.nii"), None, seg, label, None, "ixi")


def split(part: str, subjects: str, fold: int | None = None, healthy: bool = True, dataset: str = "ixi") -> Split:
    records = tuple(record(s, int(not healthy)) for s in subjects.split())
    return Split(dataset, part, fold, healthy, records)


def found(*splits: Split) -> dict[str, tuple[str, ...]]:
    return {f.kind: f.subjects for f in audit_splits(splits)}


CLEAN = [
    split("train", "a b c", 0),
    split("val", "d", 0),
    split("train", "a b d", 1),
    split("val", "c", 1),
    split("test", "e f"),
]


def test_clean_lists_pass():
    assert audit_splits(CLEAN) == []


@pytest.mark.parametrize(
    ("extra", "kind", "subjects"),
    [
        (split("val", "b q", 0), "overlap", ("b",)),
        (split("test", "c q"), "overlap", ("c",)),
        (split("val", "d q", 2), "overlap", ("d",)),
        (split("train", "", 0), "empty", ()),
        (split("train", "z", 0), "too few", ("z",)),
        (split("train", "x x y", 0), "duplicate", ("x",)),
        (Split("ixi", "train", 0, True, (record("x"), record("y", 1))), "pathology", ("y",)),
        (split("val", "z", 2), "missing fold", ("fold 2",)),
    ],
)
def test_each_fault_is_found_and_named(extra, kind, subjects):
    hits = [f for f in audit_splits([*CLEAN, extra]) if f.kind == kind]
    assert hits
    assert all(f.subjects == subjects for f in hits)
    assert all(subject in f.message for f in hits for subject in subjects)


def test_training_lists_of_other_folds_may_share_subjects_with_val():
    assert "overlap" not in found(
        split("train", "a b", 0), split("val", "c", 0), split("train", "a c", 1), split("val", "b", 1)
    )


def test_other_data_sets_may_use_the_same_names():
    assert found(split("test", "p1 p2", None, False, "mslub"), split("val", "p1", None, False, "wmh")) == {}


def test_val_and_test_of_patients():
    assert found(split("val", "p1", None, False, "mslub"), split("test", "p1 p2", None, False, "mslub")) == {
        "overlap": ("p1",)
    }


def test_two_sessions_warn_only():
    sessions = Split("ixi", "train", 0, True, (record("a", case="a_1"), record("a", case="a_2"), record("b")))
    (warning,) = audit_splits([sessions, split("val", "c", 0)])
    assert (warning.kind, warning.severity, warning.subjects) == ("repeated subject", "warning", ("a",))


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
    messages = [found.message for found in audit_splits(splits) if found.severity == "error"]
    test_subjects = {rows[i] for i in test}
    leaked = test_subjects & {rows[i] for i in rest}
    assert leaked
    assert leaked <= {f"IXI{i:03d}" for i in range(6)}
    for subject in leaked:
        assert any(subject in message for message in messages)
    findings = audit_splits(splits)
    pairs = {f.splits: set(f.subjects) for f in findings if f.kind == "overlap"}
    assert set().union(*(subjects for names, subjects in pairs.items() if "ixi test" in names)) == leaked
    assert sum("ixi val" in a and "ixi val" in b for a, b in pairs) >= 5
    plan = plan_folds(rows)  # the remedy
    clean = [Split("ixi", "test", None, True, tuple(map(record, plan.test)))]
    for fold in range(5):
        clean.append(Split("ixi", "val", fold, True, tuple(map(record, plan.val[fold]))))
        clean.append(Split("ixi", "train", fold, True, tuple(map(record, plan.train(fold)))))
    assert audit_splits(clean) == []


def test_lists_on_disk_and_lesions_in_healthy_lists(make_root):
    root = make_root(train=["IXI001-A-1", "IXI002-A-2"], val=["IXI003-A-3"], patients=["patient07"])
    splits = load_splits(root, "ixi", "t1")
    assert [s.name for s in splits] == ["ixi train fold 0", "ixi val fold 0"]
    assert audit_splits(splits) == []
    lesion = root / "Test/MSLUB/seg/patient07_seg.nii.gz"
    ill = Split("ixi", "test", None, True, (record("IXI009", 0, "IXI009", lesion),))
    assert [f.subjects for f in audit_splits([ill])] == [("IXI009",)]
    assert audit_splits([ill], check_segmentations=False) == []


def test_no_list_at_all_is_not_clean(make_root):
    root = make_root(train=["IXI001-A-1", "IXI002-A-2"])
    with pytest.raises(DataError, match=r"MSLUB: https"):
        load_splits(root, "mslub", "t1")
