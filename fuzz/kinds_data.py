# SPDX-License-Identifier: Apache-2.0
"""Scans, lists, caches and records of data folders, see :mod:`file_kind`."""

import os
from pathlib import Path
from typing import Any

from file_kind import PREPARATION, Again, FileKind, write_scan

import custom.synthetic.cohort as cohort
from custom.cohorts.cache import cached_case, file_digest
from custom.cohorts.datasets.own import declare, own_datasets
from custom.cohorts.folds import make_splits
from custom.cohorts.gate.cache import CACHE_FILE, FileCache
from custom.cohorts.gate.inspect import inspect_file
from custom.cohorts.gate.repair import _read_record, _write_down
from custom.cohorts.split_csv import load_split
from custom.core.digests import read_checked_json
from custom.synthetic import CohortSize
from custom.volumes.read import read_scan
from custom.volumes.records import ScanRecord


def _make_lists(folder: Path) -> list[Path]:
    for number in range(10):
        write_scan(folder / f"Train/ixi/t1/IXI00{number}-A_t1.nii.gz", number)
    return make_splits(folder, "ixi", folds=2, ages={f"IXI00{n}": 20.0 + n for n in range(10)})


def _make_stamp(folder: Path) -> list[Path]:
    _make_lists(folder)
    return [folder / "splits" / "splits.json"]


def _read_lists(folder: Path) -> Any:
    names = [("test", None), ("train", 0), ("val", 0), ("train", 1), ("val", 1)]
    lists = (load_split(folder, "ixi", split, "t1", fold, check_files=False) for split, fold in names)
    return [repr([(r.case_id, r.label, r.age, str(r.image.relative_to(folder))) for r in rows]) for rows in lists]


def _make_scans(folder: Path) -> list[Path]:
    return [write_scan(folder / f"{name}.nii.gz", number) for number, name in enumerate("ab")]


def _read_scans(folder: Path) -> Any:
    found = [read_scan(folder / f"{name}.nii.gz", name) for name in "ab"]
    return [array for scan in found for array in (scan.array, scan.affine)]


def _records(folder: Path) -> list[ScanRecord]:
    paths = [folder / "in" / f"IXI00{n}_t1.nii.gz" for n in range(2)]
    mask = folder / "in" / "mask.nii.gz"
    return [ScanRecord(p.name[:6], p.name[:6], "t1", p, mask, None, 0, None, "ixi") for p in paths]


def _make_prepared(folder: Path) -> list[Path]:
    write_scan(folder / "in" / "mask.nii.gz", 0, label=True)
    for number, record in enumerate(_records(folder)):
        write_scan(record.image, number)
        cached_case(record, PREPARATION, folder / "cache")
    return sorted((folder / "cache").rglob("*.npz"))


def _make_notes(folder: Path) -> list[Path]:
    _make_prepared(folder)
    return sorted((folder / "cache" / "files").rglob("*.json"))


def _read_prepared(folder: Path) -> Any:
    found = [cached_case(record, PREPARATION, folder / "cache") for record in _records(folder)]
    digests = [file_digest(record.image, folder / "cache", record.case_id) for record in _records(folder)]
    return [*(value for case in found for value in vars(case).values()), digests]


def _make_reports(folder: Path) -> list[Path]:
    cache = FileCache(folder)
    for number in range(2):
        path = write_scan(folder / f"IXI00{number}_t1.nii.gz", number)
        os.utime(path, ns=(0, 0))
        cache.put(path, "image", inspect_file(path, "image"))
    cache.save()
    other = folder / "other" / CACHE_FILE
    other.parent.mkdir()
    other.write_text('{"version": 1, "files": {}}', encoding="utf-8")
    return [folder / CACHE_FILE, other]


def _read_reports(folder: Path) -> Any:
    cache = FileCache(folder)
    paths = [folder / f"IXI00{number}_t1.nii.gz" for number in range(2)]
    return [repr(cache.get(path, "image") or inspect_file(path, "image")) for path in paths]


def _make_declaration(folder: Path) -> list[Path]:
    for name in ("one", "two"):
        (folder / "Train" / name / "t1").mkdir(parents=True)
        declare(folder, name, True, r"(\d+)")
    return [folder / "dataset.json"]


def _read_declaration(folder: Path) -> Any:
    return repr(own_datasets(folder))


_COHORT = (CohortSize(healthy=6, healthy_test=1, patients_val=0, patients_test=0), 3, "demo")


def _make_cohort(folder: Path) -> list[Path]:
    places = (folder, folder / ".prepared" / "other")
    for number, place in enumerate(places):
        (place / "splits").mkdir(parents=True)
        (place / "splits" / "demo_test.csv").write_text(f",img_name\n0,{number}.nii.gz\n")
        (place / "DEMO.json").write_text(
            cohort._manifest(place, cohort._parameters(*_COHORT, cohort.COHORT_CONTRASTS, 2))
        )
    return [place / "DEMO.json" for place in places]


def _read_cohort(folder: Path) -> Any:
    if not cohort.is_complete(folder, *_COHORT):
        raise Again("refused: no intact cohort")
    return repr(read_checked_json(folder / "DEMO.json", ""))


def _make_repairs(folder: Path) -> list[Path]:
    for number in range(2):
        _write_down(folder, {"file": f"a{number}.nii.gz", "voxels": 5 + number, "sha256_before": "0" * 64})
    return [folder / "repairs.json"]


KINDS = (
    FileKind("scan (.nii.gz)", _make_scans, _read_scans, exchangeable=False),
    FileKind("split list", _make_lists, _read_lists),
    FileKind("digests of the lists", _make_stamp, _read_lists),
    FileKind("what the gate knows of files", _make_reports, _read_reports),
    FileKind("prepared scan", _make_prepared, _read_prepared),
    FileKind("digest of a scan", _make_notes, _read_prepared),
    FileKind("declared data sets", _make_declaration, _read_declaration),
    FileKind("record of a demo cohort", _make_cohort, _read_cohort),
    FileKind("record of repairs", _make_repairs, lambda folder: repr(_read_record(folder))),
)
