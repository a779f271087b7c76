# SPDX-License-Identifier: Apache-2.0
"""Read all lists of a data set and keep going: every faulty row is a fault, every good one a scan."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...volumes.records import ScanRecord
from ..datasets import DatasetDeclaration
from ..split_csv import ParsedList, lacks_by_declaration, of_contrast, parse_list
from .fault import Fault, fault

_FOLDS_LOOKED_FOR = 20


@dataclass(frozen=True)
class Split:
    """One list: which data set, which part ("train", "val", "test"), which fold (None: the same for all folds).

    >>> Split("ixi", "train", fold=0, healthy=True, records=()).name
    'train fold 0'
    """

    dataset: str
    part: str
    fold: int | None
    healthy: bool
    records: tuple[ScanRecord, ...]

    @property
    def name(self) -> str:
        """For example ``train fold 0``."""
        return self.part if self.fold is None else f"{self.part} fold {self.fold}"


@dataclass
class ReadList:
    """One list with its good rows and its faults.

    >>> ReadList("train", 0, Path("splits/IXI_train_fold0.csv")).name
    'train fold 0'
    """

    part: str
    fold: int | None
    path: Path
    parsed: ParsedList = field(default_factory=ParsedList)
    faults: list[Fault] = field(default_factory=list)

    @property
    def name(self) -> str:
        """For example ``train fold 0``."""
        return self.part if self.fold is None else f"{self.part} fold {self.fold}"

    def as_split(self, root: Path, declaration: DatasetDeclaration, contrast: str) -> Split:
        """Return the scans of the list in one contrast; scans declared to lack it are left out."""
        records = (of_contrast(row, root, contrast) for row in self.parsed.rows)
        kept = tuple(record for record in records if not lacks_by_declaration(record, declaration))
        return Split(declaration.name, self.part, self.fold, declaration.healthy, kept)


def read_lists(
    root: Path, declaration: DatasetDeclaration, fold: int | None = None, required: Sequence[str] = ()
) -> list[ReadList]:
    """Return the lists of a data set that exist, and those that lack (with a fault, without rows).

    Without ``fold`` all folds are read, else those of this fold and those without fold. Parts that are ``required`` lack
    where they do not exist.
    """
    wanted: list[tuple[str, int | None]] = []
    for part in declaration.split_files:
        folds = range(_FOLDS_LOOKED_FOR) if fold is None else (fold,)
        wanted += [(part, number) for number in folds] if declaration.has_folds(part) else [(part, None)]
    lists = [ReadList(part, number, root / "splits" / declaration.split_file(part, number)) for part, number in wanted]
    last = max((read.fold for read in lists if read.fold is not None and read.path.is_file()), default=-1)
    for read in lists:
        place = (declaration.name, read.name)
        file = f"splits/{read.path.name}"
        if read.path.is_file():
            read.parsed = parse_list(read.path, root, declaration)
            for code, what, line, case in read.parsed.faults:
                text = f"line {line}: {what}" if line else what
                read.faults.append(fault(code, text, *place, case, file))
        elif fold is None and read.fold is not None and read.fold <= last:
            read.faults.append(fault("missing-fold", "the list does not exist", *place, file=file))
        elif read.part in required and read.fold in (None, fold, 0):
            text = "the list does not exist"
            if declaration.healthy and not (root / declaration.folder).is_dir():
                text += (
                    f", nor does {declaration.folder}: the healthy scans of {declaration.name} belong into the same data "
                    "folder as the patients, because a model's thresholds come from its healthy validation scans"
                )
            read.faults.append(fault("list-missing", text, *place, file=file))
    return [read for read in lists if read.path.is_file() or read.faults]
