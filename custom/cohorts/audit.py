# SPDX-License-Identifier: Apache-2.0
"""Find leaks and other faults in split lists before anything is trained on them; every finding names the subjects.

Errors: an empty list, a scan listed twice, one subject in two lists that must be disjoint (train and val of a fold,
test against every train and val list, val lists of different folds), a pathological scan in a healthy list, fewer than
two training scans, a fold without its train or val list. Warning: two scans of one subject inside a list.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from ..volumes.read import read_stored
from ..volumes.records import ScanRecord
from .datasets import get_dataset
from .split_csv import load_split

_FOLDS_LOOKED_FOR = 20
_NAMED = 20


@dataclass(frozen=True)
class Split:
    """One list: which data set, which part ("train", "val", "test"), which fold (None: the same for all folds)."""

    dataset: str
    part: str
    fold: int | None
    healthy: bool
    records: tuple[ScanRecord, ...]

    @property
    def name(self) -> str:
        """Name for messages, for example ``ixi train fold 0``."""
        return f"{self.dataset} {self.part}" + ("" if self.fold is None else f" fold {self.fold}")


@dataclass(frozen=True)
class Finding:
    """One fault: kind, severity ("error" or "warning"), the lists, the subjects or cases, and a sentence."""

    kind: str
    severity: str
    splits: tuple[str, ...]
    subjects: tuple[str, ...]
    message: str


def load_splits(data_root: str | Path, dataset: str, contrast: str, check_files: bool = True) -> list[Split]:
    """Return all lists of a data set that exist under ``splits/``; that there is none is an error."""
    declaration = get_dataset(dataset, data_root)
    found = []
    for part in declaration.split_files:
        for fold in range(_FOLDS_LOOKED_FOR) if declaration.has_folds(part) else (None,):
            if (Path(data_root) / "splits" / declaration.split_file(part, fold)).is_file():
                records = load_split(data_root, dataset, part, contrast, fold, check_files)
                found.append(Split(dataset, part, fold, declaration.healthy, tuple(records)))
    if not found:
        load_split(data_root, dataset, next(iter(declaration.split_files)), contrast, 0)  # raises with the remedy
    return found


def audit_splits(splits: Sequence[Split], check_segmentations: bool = True) -> list[Finding]:
    """Return all findings of one or several data sets; an empty list means that nothing was found.

    Args:
        splits: lists, for example from :func:`load_splits`.
        check_segmentations: open the segmentations that healthy lists name and look for lesions in them.
    """
    findings = [finding for split in splits for finding in _inside(split, check_segmentations)]
    for first, second in combinations(splits, 2):
        if first.dataset == second.dataset and _must_be_disjoint(first, second):
            shared = {r.subject for r in first.records} & {r.subject for r in second.records}
            if shared:
                findings.append(
                    _finding(
                        "overlap",
                        (first.name, second.name),
                        shared,
                        "in both lists; results on scans of known subjects are too good",
                    )
                )
    return findings + _missing_folds(splits)


def _inside(split: Split, check_segmentations: bool) -> Iterable[Finding]:
    cases = Counter(record.case_id for record in split.records)
    subjects = Counter(subject for _, subject in {(r.case_id, r.subject) for r in split.records})
    if not split.records:
        yield _finding("empty", (split.name,), (), "the list is empty")
    elif split.part == "train" and len(cases) < 2:
        yield _finding("too few", (split.name,), cases, "fewer than 2 training scans")
    twice = [case for case, count in cases.items() if count > 1]
    if twice:
        yield _finding("duplicate", (split.name,), twice, "listed more than once, so they weigh more than others")
    repeated = [subject for subject, count in subjects.items() if count > 1]
    if repeated:
        yield _finding(
            "repeated subject",
            (split.name,),
            repeated,
            "several scans of one subject, which are not independent",
            "warning",
        )
    if split.healthy:
        ill = [r.case_id for r in split.records if r.label == 1 or (check_segmentations and _has_lesion(r))]
        if ill:
            yield _finding(
                "pathology",
                (split.name,),
                dict.fromkeys(ill),
                "label 1 or lesion voxels in a healthy list; the model would learn lesions as normal",
            )


def _has_lesion(record: ScanRecord) -> bool:
    return record.seg is not None and bool(read_stored(record.seg, record.case_id).array.any())


def _must_be_disjoint(first: Split, second: Split) -> bool:
    if "test" in (first.part, second.part) and first.part != second.part:
        return True
    if {first.part, second.part} == {"train", "val"}:
        return first.fold == second.fold
    return first.part == second.part == "val"


def _missing_folds(splits: Sequence[Split]) -> list[Finding]:
    findings = []
    for dataset in dict.fromkeys(s.dataset for s in splits):
        folds = {
            part: {s.fold for s in splits if s.dataset == dataset and s.part == part} - {None}
            for part in ("train", "val")
        }
        union = {fold for present in folds.values() for fold in present if fold is not None}
        wanted = set(range(max(union, default=-1) + 1))
        for part, present in folds.items():
            lacking = [f"fold {fold}" for fold in sorted(wanted - present)]
            if lacking:
                findings.append(_finding("missing fold", (f"{dataset} {part}",), lacking, "the list does not exist"))
    return findings


def _finding(
    kind: str, splits: tuple[str, ...], subjects: Iterable[str], text: str, severity: str = "error"
) -> Finding:
    names = tuple(sorted(subjects))
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    where = " / ".join(splits)
    message = ": ".join(part for part in (where, f"{text} ({len(names)}: {shown})" if names else text) if part)
    return Finding(kind, severity, splits, names, message)
