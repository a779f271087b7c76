# SPDX-License-Identifier: Apache-2.0
"""What a search in a downloaded data set gave."""

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
    """

    scans: tuple[RawScan, ...]
    people: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unknown: tuple[Path, ...] = ()


def images_below(root: Path) -> list[Path]:
    """Return all NIfTI files below a folder, in the order of their names."""
    return sorted(path for path in root.rglob("*.nii*") if path.name.endswith((".nii", ".nii.gz")))


def unknown_of(root: Path, known: Iterable[Path]) -> tuple[Path, ...]:
    """Return the images below ``root`` that are not ``known``."""
    used = set(known)
    return tuple(path for path in images_below(root) if path not in used)
