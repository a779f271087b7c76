# SPDX-License-Identifier: Apache-2.0
"""Faults between scans: leaks and repetitions by name (:mod:`custom.cohorts.audit`), and the same scan under two names."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from ...volumes.records import ScanRecord
from ..audit import Split, audit_splits
from ..datasets import DatasetDeclaration
from .finding import Finding, finding
from .fingerprint import similar_pairs
from .scans import Reports

_KINDS = {
    "overlap": ("leak-subject", "the same subjects in both lists"),
    "empty": ("list-empty", "no scan in the list"),
    "too few": ("too-few", "fewer than 2 training scans"),
    "duplicate": ("duplicate-scan", "listed more than once"),
    "repeated subject": ("repeated-subject", "several scans of one subject"),
    "pathology": ("pathology-in-healthy", "label 1 in a list of healthy scans"),
}


@dataclass(frozen=True)
class Place:
    """A scan and the lists that name it."""

    record: ScanRecord
    splits: tuple[Split, ...]

    @property
    def names(self) -> str:
        """The lists without the name of the data set, at most three of them."""
        names = [split.name.removeprefix(f"{split.dataset} ") for split in self.splits]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def places_of(splits: Sequence[Split]) -> list[Place]:
    """Return every scan once, with all lists that name it."""
    listed: dict[ScanRecord, list[Split]] = defaultdict(list)
    for split in splits:
        for record in dict.fromkeys(split.records):
            listed[record].append(split)
    return [Place(record, tuple(where)) for record, where in listed.items()]


def name_findings(splits: Sequence[Split], declaration: DatasetDeclaration) -> Iterator[Finding]:
    """Yield faults that the ids alone show (of all lists of one data set in one contrast)."""
    for found in audit_splits(splits, check_segmentations=False):
        if found.kind not in _KINDS:
            continue  # lists of folds that lack are found when the lists are read
        code, what = _KINDS[found.kind]
        dataset = found.splits[0].split(" ")[0]
        lists = [name.removeprefix(f"{dataset} ") for name in found.splits]
        yield finding(code, what, dataset, " / ".join(lists), ", ".join(found.subjects), _files(declaration, lists))


def voxel_findings(places: Sequence[Place], reports: Reports, root: Path) -> Iterator[Finding]:
    """Yield scans of one contrast that are the same image under different case ids."""
    by_content: dict[str, list[Place]] = defaultdict(list)
    for place in places:
        report = reports.get((place.record.image, "image"))
        if report is not None and report.voxels:
            by_content[report.voxels].append(place)
    for same in by_content.values():
        for first, second in combinations(same, 2):
            if (first.record.dataset, first.record.case_id) != (second.record.dataset, second.record.case_id):
                yield _pair(first, second, "same-voxels", "hold the same voxels", root)
    yield from _similar([group[0] for group in by_content.values()], reports, root)


def _similar(places: Sequence[Place], reports: Reports, root: Path) -> Iterator[Finding]:
    known = [(place, reports[place.record.image, "image"].print) for place in places]
    known = [(place, picture) for place, picture in known if picture]
    for i, j, correlation in similar_pairs([picture for _, picture in known]):
        first, second = known[i][0], known[j][0]
        if first.record.subject != second.record.subject:
            what = f"look like one scan saved twice (correlation of block means {correlation:.4f})"
            yield _pair(first, second, "similar-voxels", what, root)


def _pair(first: Place, second: Place, code: str, what: str, root: Path) -> Finding:
    together = {split.name for split in first.splits} & {split.name for split in second.splits}
    parts = {(split.dataset, split.part) for place in (first, second) for split in place.splits}
    if not together and len(parts) > 1:
        code, what = "leak-voxels", f"{what} in different lists"
    files = [place.record.image.relative_to(root).as_posix() for place in (first, second)]
    return finding(
        code,
        f"{files[0]} and {files[1]} {what}",
        ", ".join(dict.fromkeys(place.record.dataset for place in (first, second))),
        " / ".join(dict.fromkeys(place.names for place in (first, second))),
        f"{first.record.case_id}, {second.record.case_id}",
        files[1],
    )


def _files(declaration: DatasetDeclaration, lists: Sequence[str]) -> str:
    patterns: Mapping[str, str] = declaration.split_files
    names = []
    for name in lists:
        part, _, fold = name.partition(" fold ")
        names.append(patterns[part].replace("{fold}", fold or "*"))
    return ", ".join(f"splits/{name}" for name in names)
