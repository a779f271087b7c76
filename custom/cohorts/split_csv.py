# SPDX-License-Identifier: Apache-2.0
"""Read the papers' split lists: CSV files with img_name, age, label, img_path, mask_path, seg_path.

Paths in the lists begin with "/" but are relative to the data root, and they name the T1 file. Another contrast is
found by structure, never by text replacement: the last folder that is a contrast name and the suffix of the file name
are exchanged inside the relative path; mask and segmentation are shared by the contrasts. Other columns (unnamed index,
demographics) are ignored; a byte order mark and blank lines are harmless and accepted.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..core.digests import read_checked_json
from ..core.errors import ConfigError, DataError
from ..core.stamps import STAMP_FILE, text_digest
from ..volumes.records import LIST_COLUMNS, ScanRecord, case_id_of, checked_id
from .datasets import DatasetDeclaration, get_dataset
from .list_paths import SHOWN, in_contrast, relative_path

_LISTED = 20
_MAX_BYTES = 64 << 20


def load_split(
    data_root: str | Path, dataset: str, split: str, contrast: str, fold: int | None = None, check_files: bool = True
) -> list[ScanRecord]:
    """Return the scans of one split ("train", "val", "test") of a data set.

    ``fold`` is needed where the split exists once per fold; see :func:`read_split` for the rest.
    """
    path = require_list(data_root, dataset, split, fold)
    return read_split(path, data_root, contrast, get_dataset(dataset, data_root), check_files)


def require_list(data_root: str | Path, dataset: str, split: str, fold: int | None = None) -> Path:
    """Return the file of a split's list; an error says what to do where there is none."""
    root, declaration = Path(data_root), get_dataset(dataset, data_root)
    path = root / "splits" / declaration.split_file(split, fold)
    if not path.is_file():
        raise DataError(_missing_list(root, declaration, path))
    return path


def read_split(
    csv_path: str | Path,
    data_root: str | Path,
    contrast: str,
    declaration: DatasetDeclaration,
    check_files: bool = True,
) -> list[ScanRecord]:
    """Return the rows of one list, in its order, resolved for ``contrast``; duplicates are kept for the check of the data.

    ``check_files`` demands that every image, mask and segmentation exists.

    Raises:
        ConfigError: the data set does not exist in this contrast.
        DataError: unreadable list, wrong columns, bad row, path that leaves the root, or missing files (all listed).
    """
    if contrast not in declaration.contrasts:
        raise ConfigError(
            f"{declaration.title} is used in {' and '.join(declaration.contrasts)} only, not in {contrast!r}; "
            "choose another contrast or another data set"
        )
    path, root = Path(csv_path), Path(data_root)
    parsed = parse_list(path, root, declaration)
    if parsed.faults:
        fault = parsed.faults[0]
        more = f" (and {len(parsed.faults) - 1} more faults)" if len(parsed.faults) > 1 else ""
        where = f"{path.name}, line {fault.line}" if fault.line else path.name
        raise DataError.of(fault.code, f"{fault.what}{more}", where)
    records = [of_contrast(row, root, contrast) for row in parsed.rows]
    if not check_files:
        return records
    kept = [record for record in records if not lacks_by_declaration(record, declaration)]
    missing = [file for r in kept for file in (r.image, r.mask, r.seg) if file is not None and not file.is_file()]
    if missing:
        names = [str(file.relative_to(root)) for file in dict.fromkeys(missing)]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        raise DataError(
            f"{len(names)} of the files that the list names for contrast {contrast} do not exist under {root}: "
            f"{', '.join(names[:_LISTED])}{more}. Training would stop at the first of them; add the files, correct the "
            "data root, or take the rows out of the list",
            case=path.name,
        )
    return kept


def of_contrast(record: ScanRecord, root: Path, contrast: str) -> ScanRecord:
    """Return the scan of another contrast of a row; mask and segmentation are shared."""
    image = in_contrast(PurePosixPath(record.image.relative_to(root).as_posix()), contrast)
    return replace(record, contrast=contrast, image=root / image)


class _RowFault(NamedTuple):
    """What is wrong with a list (line 0) or one of its rows; the code is a key of :data:`custom.core.codes.CODES`."""

    code: str
    what: str
    line: int = 0
    case: str = ""


@dataclass
class ParsedList:
    r"""The good rows of a list, which names T1 files, and all faults; ``understood``: whether rows could be looked at.

    >>> import tempfile
    >>> from custom.cohorts.datasets import DATASETS
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "list.csv"
    ...     _ = path.write_text(",".join(LIST_COLUMNS) + "\nA_t1.nii.gz,40,2,/t1/A_t1.nii.gz,,\n")
    ...     parsed = parse_list(path, Path(folder), DATASETS["mslub"])
    >>> parsed.rows, parsed.faults[0].line, parsed.faults[0].what
    ([], 2, "label must be 0 (healthy) or 1 (pathological), found '2'")
    """

    rows: list[ScanRecord] = field(default_factory=list)
    faults: list[_RowFault] = field(default_factory=list)
    understood: bool = False


def parse_list(path: Path, root: Path, declaration: DatasetDeclaration) -> ParsedList:
    """Judge every row of the CSV file of a data set; nothing is raised."""
    parsed = ParsedList()
    try:
        text = read_text(path)
        lines = csv.reader(io.StringIO(text, newline=""))
        numbered = [(lines.line_num, [cell.strip() for cell in row]) for row in lines]
    except (DataError, csv.Error) as error:
        what = error.what if isinstance(error, DataError) else f"it is not a CSV file ({error})"
        parsed.faults.append(_RowFault("list-unreadable", what))
        return parsed
    try:
        check_stamp(path)
    except DataError as error:
        parsed.faults.append(_RowFault("list-changed", error.what))
    numbered = [(line, cells) for line, cells in numbered if any(cells)]
    header = numbered[0][1] if numbered else []
    if absent := [column for column in LIST_COLUMNS if column not in header]:
        hint = "; the separator is ';' instead of ','" if len(header) == 1 and ";" in header[0] else ""
        found = ",".join(header)[:200] or "an empty file"
        what = f"no column {', '.join(absent)}: expected {','.join(LIST_COLUMNS)} (others are ignored), found {found}{hint}"
        parsed.faults.append(_RowFault("list-columns", what))
        return parsed
    parsed.understood = True
    for line, cells in numbered[1:]:
        if len(cells) != len(header):
            parsed.faults.append(_RowFault("row-cells", f"{len(cells)} cells where the header has {len(header)}", line))
            continue
        row = dict(zip(header, cells, strict=True))
        case = case_id_of(row["img_name"], declaration.contrasts)
        faults, good = _judge(row, case, root, declaration)
        parsed.faults += [_RowFault(code, what, line, "" if code == "row-id" else case) for code, what in faults]
        parsed.rows += [good] if good is not None else []
    return parsed


def _judge(
    row: Mapping[str, str], case: str, root: Path, declaration: DatasetDeclaration
) -> tuple[list[tuple[str, str]], ScanRecord | None]:
    """Return the faults of a row, and what it says if nothing but its age is wrong."""
    faults: list[tuple[str, str]] = []
    paths: dict[str, Path | None] = {}
    try:
        checked_id(case)
    except DataError as error:
        faults.append((error.code, error.what))
    if row["label"] not in ("0", "1", "0.0", "1.0"):
        faults.append(("row-label", f"label must be 0 (healthy) or 1 (pathological), found {row['label'][:SHOWN]!r}"))
    elif row["label"].startswith("1") and not row["seg_path"]:
        faults.append(("row-no-seg", "label 1 but no seg_path"))
    for column in ("img_path", "mask_path", "seg_path"):
        try:
            given = row[column] or column == "img_path"
            paths[column] = root / relative_path(row[column], root) if given else None
            if column == "img_path":
                in_contrast(relative_path(row[column], root), "t1")
        except DataError as error:
            faults.append((error.code, f"{column}: {error.what}"))
    age = _age(row["age"])
    image = paths.get("img_path")
    good = None
    if not faults and image is not None:
        subject, label = declaration.subject_of(case), int(row["label"][0])
        files = image, paths["mask_path"], paths["seg_path"]
        good = ScanRecord(subject, case, "t1", *files, label, age, declaration.name)
    if age is None and row["age"] and row["age"].lower() != "nan":
        what = f"age must be empty or a number of years between 0 and 130, found {row['age'][:SHOWN]!r}"
        faults.append(("row-age", what))
    return faults, good


def _age(text: str) -> float | None:
    """Return years, or None if the text is empty or no age."""
    try:
        age = float(text)
    except ValueError:
        return None
    return age if 0 <= age <= 130 else None


def read_text(path: Path) -> str:
    """Return the text of a list; a byte order mark is dropped.

    Raises:
        DataError: unreadable, far too large for a list, or in another encoding than UTF-8.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError.of("list-unreadable", f"it has more than {_MAX_BYTES} bytes", path.name)
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError.of("list-unreadable", str(error.strerror), str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError.of("list-unreadable", "it is not UTF-8 text", path.name) from error


def check_stamp(path: Path) -> None:
    """Raise a ``DataError`` if ``splits.json`` beside the list holds another content hash for it."""
    stamp = path.with_name(STAMP_FILE)
    if not stamp.is_file():
        return
    try:
        entries = read_checked_json(stamp, "delete it or make the splits again").values()
        files = {name: digest for entry in entries for name, digest in entry["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError.of("list-changed", f"{stamp.name} cannot be read ({error})", str(stamp)) from error
    if path.name in files and files[path.name] != text_digest(read_text(path)):
        what = f"the list was changed after it was made (its hash differs from {STAMP_FILE})"
        raise DataError.of("list-changed", what, path.name)


def lacks_by_declaration(record: ScanRecord, declaration: DatasetDeclaration) -> bool:
    """Say whether the scan does not exist in this contrast, as its data set declares."""
    return record.contrast == "t2" and record.subject in declaration.known_missing_t2 and not record.image.is_file()


def _missing_list(root: Path, declaration: DatasetDeclaration, path: Path) -> str:
    if not root.is_dir():
        return f"the data root {root} does not exist; give the folder that holds splits, Train and Test"
    if (root / "Data" / "splits").is_dir():
        return f"{root} has no splits/{path.name}, but {root / 'Data'} has a splits folder: give that as data root"
    if (root / declaration.folder).is_dir():
        return (
            f"the split list {path} does not exist, though the scans do ({declaration.folder}); make the lists with: "
            f"uad splits {root} --dataset {declaration.name}"
        )
    return (
        f"neither the split list {path} nor the folder {root / declaration.folder} exists. "
        f"{declaration.title}: {declaration.how_to_get}"
    )
