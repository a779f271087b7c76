# SPDX-License-Identifier: Apache-2.0
"""Read all lists of a data set and keep going: every faulty row is a finding, every good one a scan.

The same rules as :mod:`custom.cohorts.split_csv`, which stops at the first fault; a property test holds the two together.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ...core.errors import DataError
from ...volumes.records import ScanRecord, case_id_of, checked_id
from ..audit import Split
from ..datasets import DatasetDeclaration
from ..split_csv import COLUMNS, check_stamp, in_contrast, read_text, relative_path
from .finding import Finding, finding

_FOLDS_LOOKED_FOR = 20
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Row:
    """A good row: what :class:`ScanRecord` needs, before a contrast is chosen."""

    case_id: str
    label: int
    age: float | None
    image: PurePosixPath
    mask: PurePosixPath | None
    seg: PurePosixPath | None


@dataclass
class ReadList:
    """One list with its good rows and its findings."""

    part: str
    fold: int | None
    path: Path
    rows: list[Row] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    understood: bool = False

    @property
    def name(self) -> str:
        """For example ``train fold 0``."""
        return self.part if self.fold is None else f"{self.part} fold {self.fold}"

    def as_split(self, root: Path, declaration: DatasetDeclaration, contrast: str) -> Split:
        """Return the scans of the list in one contrast; scans declared to lack it are left out."""
        records = tuple(self._records(root, declaration, contrast))
        return Split(declaration.name, self.part, self.fold, declaration.healthy, records)

    def _records(self, root: Path, declaration: DatasetDeclaration, contrast: str) -> Iterator[ScanRecord]:
        for row in self.rows:
            subject = declaration.subject_of(row.case_id)
            image = root / in_contrast(row.image, contrast, "")
            if contrast == "t2" and subject in declaration.known_missing_t2 and not image.is_file():
                continue
            mask, seg = (None if path is None else root / path for path in (row.mask, row.seg))
            yield ScanRecord(subject, row.case_id, contrast, image, mask, seg, row.label, row.age, declaration.name)


def read_lists(
    root: Path, declaration: DatasetDeclaration, fold: int | None = None, required: Sequence[str] = ()
) -> list[ReadList]:
    """Return the lists of a data set that exist, and those that lack (with a finding, without rows).

    Args:
        root: data root.
        declaration: data set.
        fold: read only the lists of this fold and those without fold; None reads all folds.
        required: parts whose absence is a finding.
    """
    wanted: list[tuple[str, int | None]] = []
    for part in declaration.split_files:
        folds = range(_FOLDS_LOOKED_FOR) if fold is None else (fold,)
        wanted += [(part, number) for number in folds] if declaration.has_folds(part) else [(part, None)]
    lists = [ReadList(part, number, root / "splits" / declaration.split_file(part, number)) for part, number in wanted]
    last = max((read.fold for read in lists if read.fold is not None and read.path.is_file()), default=-1)
    for read in lists:
        if read.path.is_file():
            _read(read, root, declaration)
        elif fold is None and read.fold is not None and read.fold <= last:
            read.findings.append(_of_list("missing-fold", "the list does not exist", declaration, read))
        elif read.part in required and read.fold in (None, fold, 0):
            read.findings.append(_of_list("list-missing", "the list does not exist", declaration, read))
    return [read for read in lists if read.path.is_file() or read.findings]


def _read(target: ReadList, root: Path, declaration: DatasetDeclaration) -> None:
    def report(code: str, what: str, case: str = "") -> None:
        target.findings.append(_of_list(code, what, declaration, target, case))

    try:
        if target.path.stat().st_size > _MAX_BYTES:
            raise DataError(f"has more than {_MAX_BYTES} bytes; a split list is a short table")
        text = read_text(target.path)
    except (DataError, OSError) as error:
        report("list-unreadable", _first(error))
        return
    try:
        check_stamp(target.path)
    except DataError as error:
        report("list-changed", _first(error))
    try:
        lines = csv.reader(io.StringIO(text, newline=""))
        cells = [(lines.line_num, [cell.strip() for cell in row]) for row in lines]
    except csv.Error as error:
        report("list-unreadable", f"is no CSV file ({error})")
        return
    cells = [(line, row) for line, row in cells if any(row)]
    header = cells[0][1] if cells else []
    if absent := [column for column in COLUMNS if column not in header]:
        hint = "; the separator is ';' instead of ','" if len(header) == 1 and ";" in header[0] else ""
        found = ",".join(header)[:200] or "an empty file"
        report("list-columns", f"no column {', '.join(absent)}; expected {','.join(COLUMNS)}, found {found}{hint}")
        return
    target.understood = True
    for line, row in cells[1:]:
        if len(row) != len(header):
            report("row-cells", f"line {line} has {len(row)} cells, the header {len(header)}")
            continue
        values = dict(zip(header, row, strict=True))
        faults, good = _row(values, root, declaration.contrasts)
        case = case_id_of(values["img_name"], declaration.contrasts)
        for code, what in faults:
            report(code, f"line {line}: {what}", "" if code == "row-id" else case)
        if good is not None:
            target.rows.append(good)


def _row(row: dict[str, str], root: Path, contrasts: Sequence[str]) -> tuple[list[tuple[str, str]], Row | None]:
    faults: list[tuple[str, str]] = []
    paths: dict[str, PurePosixPath | None] = {}
    try:
        case_id = checked_id(case_id_of(row["img_name"], contrasts), "")
    except DataError:
        faults.append(("row-id", f"the case id {case_id_of(row['img_name'], contrasts)[:80]!r} is not allowed"))
    if row["label"] not in ("0", "1", "0.0", "1.0"):
        faults.append(("row-label", f"label {row['label'][:80]!r}"))
    elif row["label"].startswith("1") and not row["seg_path"]:
        faults.append(("row-no-seg", "label 1 without seg_path"))
    for column in ("img_path", "mask_path", "seg_path"):
        try:
            given = row[column] or column == "img_path"
            paths[column] = relative_path(row[column], root, "") if given else None
        except DataError:
            faults.append(("row-path", f"{column} {row[column][:80]!r} is not a path inside the data root"))
    image = paths.get("img_path")
    if image is not None:
        try:
            in_contrast(image, "t1", "")
        except DataError:
            faults.append(("row-contrast", f"img_path {str(image)[:80]!r} does not end like /t1/NAME_t1.nii.gz"))
    good = None
    age = _age(row["age"])
    if not faults and image is not None:
        good = Row(case_id, int(row["label"][0]), age, image, paths["mask_path"], paths["seg_path"])
    if age is not None and not 0 <= age <= 130:
        faults.append(("row-age", f"age {row['age'][:80]!r} is not a number of years"))
    return faults, good


def _age(text: str) -> float | None:
    """Return the age, None if it is unknown, -1 if it is no number."""
    try:
        age = float(text) if text else math.nan
    except ValueError:
        return -1.0
    return None if math.isnan(age) else age


def _of_list(code: str, what: str, declaration: DatasetDeclaration, target: ReadList, case: str = "") -> Finding:
    return finding(code, what, declaration.name, target.name, case, f"splits/{target.path.name}")


def _first(error: Exception) -> str:
    text = str(error)
    return text.split(": ", 1)[-1].split("; ")[0]
