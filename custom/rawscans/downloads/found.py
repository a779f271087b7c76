# SPDX-License-Identifier: Apache-2.0
"""What a search in a downloaded data set gave."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..raw_scan import RawScan


@dataclass(frozen=True)
class Found:
    """Scans in the order of their names, age and sex by subject where they are known, notes for the user, unknown images.

    >>> scan = RawScan("sub-01", Path("sub-01_T1w.nii.gz"), "t1")
    >>> found = Found((scan,), people={"sub-01": {"age": "54", "sex": "F"}}, unknown=(Path("notes.nii"),))
    >>> found.people[found.scans[0].case_id]["age"]
    '54'
    """

    scans: tuple[RawScan, ...]
    people: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unknown: tuple[Path, ...] = ()


def images_below(root: Path) -> list[Path]:
    """Return all NIfTI files below a folder, in the order of their names."""
    return sorted(path for path in root.rglob("*.nii*") if path.name.endswith((".nii", ".nii.gz")))


def named_like(root: Path, pattern: re.Pattern[str]) -> list[tuple[re.Match[str], Path]]:
    """Return the images below ``root`` whose whole name matches ``pattern``, with the match."""
    return [(match, path) for path in images_below(root) if (match := pattern.fullmatch(path.name))]


def unknown_of(root: Path, known: Iterable[Path]) -> tuple[Path, ...]:
    """Return the images below ``root`` that are not ``known``."""
    used = set(known)
    return tuple(path for path in images_below(root) if path not in used)
