# SPDX-License-Identifier: Apache-2.0
import csv
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom.cohorts import folds
from custom.cohorts.datasets import get_dataset
from custom.cohorts.folds import hashed_order, make_splits, plan_folds, read_ages
from custom.cohorts.gate.cohort import name_faults
from custom.cohorts.gate.lists import read_lists
from custom.cohorts.split_csv import load_split
from custom.core.digests import read_checked_json
from custom.core.errors import ConfigError, DataError

SUBJECTS = st.sets(st.integers(0, 9999).map("IXI{:04d}".format), min_size=20, max_size=60)


@given(SUBJECTS, st.integers(0, 2**32), st.integers(1, 5))
def test_folds_are_disjoint_and_complete(subjects, seed, folds):
    plan = plan_folds(subjects, seed, folds)
    held_out = [set(plan.test), *map(set, plan.val)]
    assert sum(map(len, held_out)) == len(set().union(*held_out))
    for fold in range(folds):
        train = set(plan.train(fold))
        assert train | set(plan.val[fold]) | set(plan.test) == subjects
        assert len(train) + len(plan.val[fold]) + len(plan.test) == len(subjects)


@given(SUBJECTS, st.randoms())
def test_order_of_the_input_does_not_matter(subjects, random):
    shuffled = sorted(subjects)
    random.shuffle(shuffled)
    assert plan_folds(shuffled * 2, 7) == plan_folds(sorted(subjects), 7)


def test_proportions_of_the_papers():
    plan = plan_folds([f"IXI{i:03d}" for i in range(560)], seed=0)
    assert (len(plan.test), [len(v) for v in plan.val], len(plan.train(0))) == (157, [44] * 5, 359)


def test_golden_order():
    # order of the digests that coreutils gives: printf "0\x1fIXI002" | sha256sum, and so on
    subjects = ["IXI002", "IXI012", "IXI013", "IXI014"]
    assert hashed_order(subjects, 0) == ["IXI014", "IXI012", "IXI013", "IXI002"]
    assert hashed_order(subjects, 1) == ["IXI014", "IXI002", "IXI013", "IXI012"]


def test_too_few_subjects_or_impossible_fractions():
    with pytest.raises(DataError, match="too few"):
        plan_folds("abcde", folds=5)
    with pytest.raises(ConfigError, match="fractions"):
        plan_folds(map(str, range(40)), test_fraction=1.0)
    with pytest.raises(DataError, match="--folds 4 is possible"):
        plan_folds(map(str, range(6)))
    assert len(plan_folds(map(str, range(6)), folds=4).val) == 4
    with pytest.raises(DataError, match="more subjects or smaller fractions"):
        plan_folds("ab")


def names(path: Path) -> list[str]:
    with path.open() as file:
        return [row["img_name"] for row in csv.DictReader(file)]


def lists_and_faults(root):
    ixi = get_dataset("ixi", root)
    lists = read_lists(root, ixi)
    splits = [read.as_split(root, ixi, "t1") for read in lists]
    return splits, {fault.code for fault in [*name_faults(splits, ixi), *(f for read in lists for f in read.faults)]}


def test_written_lists_are_clean_stamped_and_repeatable(make_root):
    root = make_root(train=[f"IXI{i:03d}-A-{i}" for i in range(20)], patients=[f"patient{i:02d}" for i in range(6)])
    (root / "splits/IXI_train_fold0.csv").unlink()
    (root / "splits/MSLUB_val.csv").unlink()
    files = make_splits(root, "ixi", seed=3, ages={"IXI004": 41.5})
    assert {f.name for f in files} == {
        "IXI_test.csv",
        *(f"IXI_{p}_fold{k}.csv" for p in ("train", "val") for k in range(5)),
    }
    first = [f.read_bytes() for f in files]
    splits, codes = lists_and_faults(root)
    assert codes == set()
    assert len(splits) == 11
    ages = {r.subject: r.age for s in splits for r in s.records}
    assert ages["IXI004"] == 41.5
    assert ages["IXI005"] is None
    with pytest.raises(ConfigError, match="--force"):
        make_splits(root, "ixi", seed=4)
    assert [f.read_bytes() for f in make_splits(root, "ixi", seed=3, ages={"IXI004": 41.5}, force=True)] == first
    make_splits(root, "mslub")
    assert (len(load_split(root, "mslub", "val", "t1")), len(load_split(root, "mslub", "test", "t1"))) == (2, 4)
    stamp = read_checked_json(root / "splits/splits.json", "")
    assert stamp["ixi"]["seed"] == 3
    assert set(stamp) == {"ixi", "mslub"}
    assert len(stamp["mslub"]["content_hash"]) == 64


@pytest.mark.fault(
    128, "`uad splits` killed between two lists", "the same command completes them; lists of another seed or made by hand are not touched",
    "mended",
)  # fmt: skip
def test_lists_of_a_killed_call_are_completed_by_the_same(make_root, monkeypatch):
    root = make_root(train=[f"IXI{i:03d}-A-{i}" for i in range(20)])
    for path in (root / "splits").glob("*"):
        path.unlink()
    write, written = folds.atomic_write_text, []

    def killed(path, text):
        if len(written) == 3:
            pytest.fail("killed")
        written.append(path)
        write(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(folds, "atomic_write_text", killed)
        with pytest.raises(pytest.fail.Exception):
            make_splits(root, "ixi", seed=3, folds=2)
    with pytest.raises(ConfigError, match="--force"):
        make_splits(root, "ixi", seed=4, folds=2)
    assert len(make_splits(root, "ixi", seed=3, folds=2)) == 5
    assert lists_and_faults(root)[1] == set()
    with pytest.raises(ConfigError, match="--force"):  # finished
        make_splits(root, "ixi", seed=3, folds=2)


def test_fewer_folds_leave_no_old_lists(make_root):
    root = make_root(train=[f"IXI{i:03d}-A-{i}" for i in range(12)])
    make_splits(root, "ixi", folds=5, force=True)
    make_splits(root, "ixi", folds=2, force=True)
    assert sorted(f.name for f in (root / "splits").glob("*fold*")) == [
        "IXI_train_fold0.csv", "IXI_train_fold1.csv", "IXI_val_fold0.csv", "IXI_val_fold1.csv"
    ]  # fmt: skip


def test_sessions_of_a_subject_stay_together(make_root):
    root = make_root(train=[f"IXI{i:03d}-{s}-1" for i in range(10) for s in "AB"])
    make_splits(root, "ixi", folds=2, force=True)
    assert lists_and_faults(root)[1] == {"repeated-subject"}


def test_patients_without_segmentation_are_named(make_root):
    root = make_root(train=["IXI001-A-1", "IXI002-A-2"], patients=["patient01", "patient02", "patient03"])
    (root / "Test/MSLUB/seg/patient02_seg.nii.gz").unlink()
    with pytest.raises(DataError, match=r"no lesion mask .* for patient02 "):
        make_splits(root, "mslub", force=True)


def test_nothing_to_split(tmp_path):
    with pytest.raises(DataError, match="no scans"):
        make_splits(tmp_path, "ixi")


def test_contradicting_ages(tmp_path):
    path = tmp_path / "ages.csv"
    path.write_text("subject,age\nIXI001,30\nIXI001,30\n")
    assert read_ages(path) == {"IXI001": 30}
    path.write_text("subject,age\nIXI001,30\nIXI001,31\n")
    with pytest.raises(DataError, match="two ages for IXI001: 30 and 31"):
        read_ages(path)


@pytest.mark.fault(
    90,
    "ages empty, in cp1252, not numbers, missing file",
    "an empty age is unknown, the others are sentences",
    "mended",
)
def test_an_empty_age_is_no_age(tmp_path):
    path = tmp_path / "ages.csv"
    path.write_bytes(b"\xef\xbb\xbfSubject,Age,sex\r\nIXI001,30,f\r\nIXI002,,m\r\nIXI003,NaN,m\r\n,,\r\n")
    assert read_ages(path) == {"IXI001": 30}


@pytest.mark.fault(90)
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("subject,age\nGröße,30\n".encode("cp1252"), "not UTF-8 text; save it as 'CSV UTF-8'"),
        (b"subject;age\nIXI001;30\n", "needs columns subject and age"),
        (b"subject,age\nIXI001,thirty\n", "the age of IXI001 is not a number: 'thirty'"),
        (b"subject,age\nIXI001,-3\n", "not between 0 and 130"),
        (b"subject,age\nIXI001,inf\n", "not between 0 and 130"),
        (None, "cannot read the ages: No such file"),
    ],
)
def test_unusable_ages_are_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "ages.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(sentence)):
        read_ages(path)


@pytest.mark.parametrize("fraction", [math.nan, -0.1, 1.0, math.inf])
def test_fractions_that_are_none(make_root, fraction):
    root = make_root(train=[f"IXI{i:03d}-A-{i}" for i in range(12)], patients=["patient01", "patient02", "patient03"])
    with pytest.raises(ConfigError, match="fractions in"):
        make_splits(root, "ixi", test_fraction=fraction, force=True)
    with pytest.raises(ConfigError, match="val_fraction lies between 0 and 1"):
        make_splits(root, "mslub", val_fraction=fraction, force=True)


@pytest.mark.fault(
    112,
    "another umask; a full disk while lists are replaced",
    "files have the rights that the umask leaves; the old lists stay",
    "unrecorded",
)
def test_a_failed_write_leaves_the_old_list_and_the_umask_decides_who_reads_it(make_root, monkeypatch):
    root = make_root(train=[f"IXI{i:03d}-A-{i}" for i in range(12)])
    before = os.umask(0o077)
    try:
        files = make_splits(root, "ixi", folds=2, force=True)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in [*files, root / "splits" / "splits.json"]} == {0o600}
    old = files[0].read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        make_splits(root, "ixi", folds=2, seed=7, force=True)
    assert not list((root / "splits").glob(".tmp-*"))
    assert files[0].read_bytes() == old


def test_command_line(make_root):
    root = make_root(train=[f"IXI{i:03d}-A-{i}" for i in range(12)])
    script = Path(__file__).parents[2] / "scripts/make_splits.py"
    command = [sys.executable, str(script), "--data_root", str(root), "--dataset", "ixi"]
    environment = {"PYTHONPATH": str(script.parents[1]), "OMP_NUM_THREADS": "1"}
    refused = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: IXI_train_fold0.csv exist already")
    done = subprocess.run([*command, "--force"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0
    assert sum(line.endswith(".csv") for line in done.stdout.splitlines()) == 11
