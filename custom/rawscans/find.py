# SPDX-License-Identifier: Apache-2.0
"""Which scans an input stands for: what ``uad predict`` understands, and BIDS data sets with a participants table."""

import csv
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import DataError
from ..prediction.find import find_scans
from ..prediction.group_table import People, entity
from ..prediction.names import ENDINGS, stem_of
from ..volumes.records import BIDS_SUFFIXES
from .raw_scan import RawScan

LESION_ENDINGS = ("", "_seg", "_lesion", "_lesions", "_label-lesion_mask", "_label-L_mask", "_lesion_mask", "_gt")


def find_raw_scans(
    given: Path, contrast: str, mask: str | None = None, labels: Sequence[str] | None = None
) -> tuple[list[RawScan], People]:
    """Return the scans of one contrast and what is known about the people.

    ``given`` is a scan, folder, list, or root of a BIDS data set, of which ``labels`` name subjects, with or without
    ``sub-``; see :func:`custom.prediction.find.find_scans` for ``mask``.

    Raises:
        DataError: nothing there.
    """
    if is_bids(given):
        return find_bids(given, contrast, labels), participants(given)
    if labels:
        raise DataError(f"{given} is no BIDS data set (no sub-*/ folder), so there are no participant labels in it")
    sources = find_scans(given, mask)
    problem = next((source for source in sources if source.problem), None)
    if problem is not None:
        raise DataError(str(problem.problem), case=problem.case_id)
    return [RawScan(source.case_id, source.path, contrast, source.mask) for source in sources], {}


def with_lesions(scans: Sequence[RawScan], seg: Path) -> list[RawScan]:
    """Return the scans of one contrast with their lesion masks.

    ``seg`` is that of a single scan, or a folder with one for every scan, called like the scan or its case id with one of
    :data:`LESION_ENDINGS`; folders below (BIDS derivatives) are searched too.

    Raises:
        DataError: a scan has none, or several.
    """
    if not seg.exists():
        raise DataError(f"the lesion mask {seg} does not exist; give a mask or a folder of masks")
    if seg.is_file():
        if len(scans) != 1:
            raise DataError(f"one lesion mask for {len(scans)} scans; give a folder of masks called like the scans")
        return [dataclasses.replace(scans[0], seg=seg)]
    there: dict[str, list[Path]] = {}
    for path in sorted(seg.rglob("*")):
        if path.name.lower().endswith(ENDINGS):
            there.setdefault(stem_of(path), []).append(path)
    found = []
    for scan in scans:
        stem = stem_of(scan.image)
        names = [f"{name}{end}" for name in dict.fromkeys((stem, scan.case_id)) for end in LESION_ENDINGS]
        paths = [path for name in names for path in there.get(name, []) if path.resolve() != scan.image.resolve()]
        if len(paths) != 1:
            what = ", ".join(path.name for path in paths[:3]) or "none"
            raise DataError(
                f"expected one lesion mask in {seg}, called {stem} or {scan.case_id} with {', '.join(LESION_ENDINGS[1:])} or "
                f"nothing behind it, got {what}; leave scans without lesion mask out, or give them an empty one",
                case=scan.case_id,
            )
        found.append(dataclasses.replace(scan, seg=paths[0]))
    return found


def is_bids(given: Path) -> bool:
    """Whether a folder is the root of a BIDS data set: it has subjects."""
    return given.is_dir() and any(folder.is_dir() for folder in given.glob("sub-*"))


def find_bids(
    root: Path,
    contrast: str,
    labels: Sequence[str] | None = None,
    sessions: Sequence[str] | None = None,
    runs: Sequence[str] | None = None,
) -> list[RawScan]:
    """Return the anatomical scans of one contrast; derivatives are not searched.

    Subjects, sessions and runs are named with or without ``sub-``, ``ses-`` and ``run-``; None: all.

    Raises:
        DataError: no such scan, or a label that is not there.
    """
    wanted = None if labels is None else {f"sub-{label.removeprefix('sub-')}" for label in labels}
    present = {folder.name for folder in root.glob("sub-*") if folder.is_dir()}
    if wanted is not None and wanted - present:
        raise DataError(f"no subject {', '.join(sorted(wanted - present))} in {root}")
    suffix = BIDS_SUFFIXES.get(contrast, contrast)
    pattern = re.compile(rf"(sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9]+)*)_{re.escape(suffix)}\.nii(\.gz)?")
    scans = []
    for subject in sorted(present if wanted is None else wanted):
        for path in sorted([*(root / subject).glob("anat/*"), *(root / subject).glob("ses-*/anat/*")]):
            match = pattern.fullmatch(path.name)
            if match is not None and _wanted(match.group(1), "ses", sessions) and _wanted(match.group(1), "run", runs):
                scans.append(RawScan(match.group(1), path, contrast))
    if not scans:
        raise DataError(f"no *_{suffix}.nii.gz in the anat folders of {root}; choose another contrast")
    return scans


def contrasts_of(root: Path) -> list[str]:
    """Return the contrasts of which a BIDS data set has anatomical scans, of those in :data:`BIDS_SUFFIXES`."""
    names = {path.name for where in ("sub-*/anat/*", "sub-*/ses-*/anat/*") for path in root.glob(where)}
    return [
        contrast
        for contrast, suffix in BIDS_SUFFIXES.items()
        if any(name.endswith((f"_{suffix}.nii", f"_{suffix}.nii.gz")) for name in names)
    ]


def _wanted(case_id: str, name: str, labels: Sequence[str] | None) -> bool:
    return labels is None or entity(case_id, name) in {label.removeprefix(f"{name}-") for label in labels}


def participants(root: Path) -> People:
    """Return age and sex by subject from ``participants.tsv``, where there is one."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return {row["participant_id"]: row for row in rows if row.get("participant_id")}
