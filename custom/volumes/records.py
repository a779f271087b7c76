# SPDX-License-Identifier: Apache-2.0
"""One scan of a split list: who, which contrast, where its files are, healthy or not.

A case id is ``img_name`` without the NIfTI extension and the contrast suffix (``IXI105-HH-1471``); the subject is the
part of it that stands for one person (``IXI105``), so that two sessions of a person never face each other.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import DataError

LIST_COLUMNS = ("img_name", "age", "label", "img_path", "mask_path", "seg_path")
BIDS_SUFFIXES = {"t1": "T1w", "t2": "T2w", "flair": "FLAIR"}
CONTRASTS = tuple(BIDS_SUFFIXES)
NIFTI_ENDINGS = (".nii.gz", ".nii")
_ID = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class ScanRecord:
    """One row of a split list, resolved for one contrast.

    Attributes:
        subject, case_id: person, and name of the scan, safe as a file name.
        contrast: "t1", "t2", "flair" or another name.
        image: NIfTI file of this contrast.
        mask: brain mask, shared by the contrasts; None where the list has none.
        seg: lesion mask; None for healthy scans.
        label: 0 healthy, 1 pathological.
        age: years, None where unknown.
        dataset: name of the data set, key of ``custom.cohorts.datasets.DATASETS``.

    >>> image = Path("IXI105-HH-1471_t1.nii.gz")
    >>> record = ScanRecord("IXI105", case_id_of(image.name), "t1", image, None, None, label=0, age=33.1, dataset="ixi")
    >>> record.case_id
    'IXI105-HH-1471'
    """

    subject: str
    case_id: str
    contrast: str
    image: Path
    mask: Path | None
    seg: Path | None
    label: int
    age: float | None
    dataset: str


def checked_id(text: str, where: str | None = None) -> str:
    """Return ``text`` if it is safe as a case id (``[A-Za-z0-9._-]+``, not only dots), else raise a ``DataError``."""
    if not _ID.fullmatch(text) or not text.strip("."):
        raise DataError.of("row-id", f"the case id {text[:80]!r} is not allowed", where)
    return text


def without_nifti_ending(name: str) -> str:
    """Return the file name without ``.nii.gz`` or ``.nii``.

    >>> without_nifti_ending("IXI105-HH-1471_t1.nii.gz")
    'IXI105-HH-1471_t1'
    """
    for ending in NIFTI_ENDINGS:
        if name.endswith(ending):
            return name[: -len(ending)]
    return name


def case_id_of(img_name: str, contrasts: Iterable[str] = ()) -> str:
    """Return ``img_name`` without NIfTI ending and contrast suffix; ``contrasts`` are names beside the usual ones.

    >>> case_id_of("IXI105-HH-1471_t1.nii.gz"), case_id_of("patient07")
    ('IXI105-HH-1471', 'patient07')
    """
    stem = without_nifti_ending(img_name)
    for contrast in dict.fromkeys((*contrasts, *CONTRASTS)):
        if stem.endswith(f"_{contrast}"):
            return stem[: -len(contrast) - 1]
    return stem


def list_text(rows: Iterable[Mapping[str, str]], numbered: bool = False, columns: Sequence[str] = LIST_COLUMNS) -> str:
    """Return a split list as CSV; ``numbered`` puts the papers' unnamed index first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*([""] if numbered else []), *columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **({"": str(number)} if numbered else {})} for number, row in enumerate(rows))
    return text.getvalue()
