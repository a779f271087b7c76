# SPDX-License-Identifier: Apache-2.0
"""What a search in a downloaded data set gave."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..raw_scan import RawScan


@dataclass(frozen=True)
class Found:
    """Scans, what is known about people, and what was passed over.

    Attributes:
        scans: in the order of their names.
        people: subject (``sub-...``) -> age and sex, where the data set says so.
        notes: what the user should know.
        unknown: image files below the root that belong to no known role.

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
