# SPDX-License-Identifier: Apache-2.0
"""Faults between scans: leaks and repetitions by name, and the same scan under two names."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from ...volumes.records import ScanRecord
from ..datasets import DatasetDeclaration
from .fault import Fault, fault
from .fingerprint import similar_pairs
from .lists import Split
from .scans import Reports


@dataclass(frozen=True)
class _Place:
    """A scan and the lists that name it."""

    record: ScanRecord
    splits: tuple[Split, ...]

    @property
    def names(self) -> str:
        """The lists, at most three of them."""
        names = [split.name for split in self.splits]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def places_of(splits: Sequence[Split]) -> list[_Place]:
    """Return every scan once, with all lists that name it."""
    listed: dict[ScanRecord, list[Split]] = defaultdict(list)
    for split in splits:
        for record in dict.fromkeys(split.records):
            listed[record].append(split)
    return [_Place(record, tuple(where)) for record, where in listed.items()]


def name_faults(splits: Sequence[Split], declaration: DatasetDeclaration) -> Iterator[Fault]:
    """Yield faults that the ids alone show, of all lists of one data set in one contrast.

    Errors: an empty list, fewer than two training scans, a scan listed twice, a pathological scan in a healthy list, one
    subject in two lists that must be disjoint (train and val of a fold, test and any other list, val lists of different
    folds). Warning: several scans of one subject in a list.
    """

    def at(code: str, what: str, subjects: Iterable[str], *lists: Split) -> Fault:
        files = (f"splits/{declaration.split_file(split.part, split.fold)}" for split in lists)
        names = " / ".join(split.name for split in lists)
        return fault(code, what, declaration.name, names, ", ".join(sorted(subjects)), ", ".join(files))

    for split in splits:
        cases = Counter(record.case_id for record in split.records)
        subjects = Counter(subject for _, subject in {(r.case_id, r.subject) for r in split.records})
        if not cases:
            yield at("list-empty", "no scan in the list", (), split)
        elif split.part == "train" and len(cases) < 2:
            yield at("too-few", "fewer than 2 training scans", cases, split)
        if twice := [case for case, count in cases.items() if count > 1]:
            yield at("duplicate-scan", "listed more than once", twice, split)
        if repeated := [subject for subject, count in subjects.items() if count > 1]:
            yield at("repeated-subject", "several scans of one subject", repeated, split)
        if ill := {record.case_id for record in split.records if split.healthy and record.label == 1}:
            yield at("pathology-in-healthy", "label 1 in a list of healthy scans", ill, split)
    for first, second in combinations(splits, 2):
        shared = {record.subject for record in first.records} & {record.subject for record in second.records}
        if shared and _must_be_disjoint(first, second):
            yield at("leak-subject", "the same subjects in both lists", shared, first, second)


def _must_be_disjoint(first: Split, second: Split) -> bool:
    if "test" in (first.part, second.part) and first.part != second.part:
        return True
    if {first.part, second.part} == {"train", "val"}:
        return first.fold == second.fold
    return first.part == second.part == "val"


def voxel_faults(places: Sequence[_Place], reports: Reports, root: Path) -> Iterator[Fault]:
    """Yield scans of one contrast that are the same image under different case ids."""
    by_content: dict[str, list[_Place]] = defaultdict(list)
    for place in places:
        report = reports.get((place.record.image, "image"))
        if report is not None and report.voxels:
            by_content[report.voxels].append(place)
    for same in by_content.values():
        for first, second in combinations(same, 2):
            if (first.record.dataset, first.record.case_id) != (second.record.dataset, second.record.case_id):
                yield _pair(first, second, "same-voxels", "hold the same voxels", root)
    yield from _similar([group[0] for group in by_content.values()], reports, root)


def _similar(places: Sequence[_Place], reports: Reports, root: Path) -> Iterator[Fault]:
    known = [(place, reports[place.record.image, "image"].print) for place in places]
    known = [(place, picture) for place, picture in known if picture]
    for i, j, correlation in similar_pairs([picture for _, picture in known]):
        first, second = known[i][0], known[j][0]
        if first.record.subject != second.record.subject:
            what = f"look like one scan saved twice (correlation of block means {correlation:.4f})"
            yield _pair(first, second, "similar-voxels", what, root)


def _pair(first: _Place, second: _Place, code: str, what: str, root: Path) -> Fault:
    together = {(s.dataset, s.name) for s in first.splits} & {(s.dataset, s.name) for s in second.splits}
    parts = {(split.dataset, split.part) for place in (first, second) for split in place.splits}
    if not together and len(parts) > 1:
        code, what = "leak-voxels", f"{what} in different lists"
    files = [place.record.image.relative_to(root).as_posix() for place in (first, second)]
    return fault(
        code,
        f"{files[0]} and {files[1]} {what}",
        ", ".join(dict.fromkeys(place.record.dataset for place in (first, second))),
        " / ".join(dict.fromkeys(place.names for place in (first, second))),
        f"{first.record.case_id}, {second.record.case_id}",
        files[1],
    )
