# SPDX-License-Identifier: Apache-2.0
"""One fault that the check of a data root has come upon; the texts are those of :mod:`custom.core.codes`."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ...core.codes import CODES


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        code: key of :data:`CODES`, which says why it matters and what to do.
        severity: "error" or "warning".
        dataset, split: data set and list that name the scan, for example ``train fold 0``; several are joined by commas.
        case: case id(s), empty for faults of a whole list.
        file: path relative to the data root.
        what, why, remedy: in words.

    >>> found = fault("empty-file", "A_t1.nii.gz is empty", "ixi", "train fold 0", "A", "Train/ixi/t1/A_t1.nii.gz")
    >>> found.severity, found.why, found.remedy
    ('error', 'it holds no scan', 'copy or download the file again')
    """

    code: str
    severity: str
    dataset: str
    split: str
    case: str
    file: str
    what: str
    why: str
    remedy: str

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def fault(code: str, what: str, dataset: str = "", split: str = "", case: str = "", file: str = "") -> Fault:
    """Return a fault with the texts that belong to its code."""
    entry = CODES[code]
    return Fault(code, entry.severity, dataset, split, case, file, what, entry.why, entry.remedy)


def ordered(faults: Iterable[Fault]) -> list[Fault]:
    """Return distinct faults: errors before warnings, then by code and place."""
    return sorted(set(faults), key=lambda f: (f.severity, f.code, f.dataset, f.split, f.case, f.file, f.what))
