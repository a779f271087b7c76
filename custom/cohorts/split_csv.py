# SPDX-License-Identifier: Apache-2.0
"""Read the papers' split lists: CSV files with img_name, age, label, img_path, mask_path, seg_path.

Paths in the lists begin with "/" but are relative to the data root, and they name the T1 file. Another contrast is
found by structure, never by text replacement: the last folder that is a contrast name and the suffix of the file name
are exchanged inside the relative path; mask and segmentation are shared by the contrasts. Other columns (unnamed index,
demographics) are ignored; a byte order mark and blank lines are harmless and accepted.
"""

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ..core.digests import read_checked_json
from ..core.errors import ConfigError, DataError
from ..volumes.records import NIFTI_ENDINGS, ScanRecord, case_id_of, checked_id, without_nifti_ending
from .datasets import DatasetDeclaration, get_dataset
from .folds import STAMP_FILE, text_digest

COLUMNS = ("img_name", "age", "label", "img_path", "mask_path", "seg_path")
_LISTED = 20


def load_split(
    data_root: str | Path, dataset: str, split: str, contrast: str, fold: int | None = None, check_files: bool = True
) -> list[ScanRecord]:
    """Return the scans of one split of a data set.

    Args:
        data_root: folder with ``splits``, ``Train`` and ``Test``.
        dataset: name of a built-in data set or of one in ``dataset.json``.
        split: "train", "val" or "test".
        contrast: one of the data set's, for example "t1".
        fold: number of the fold where the split exists once per fold.
        check_files: demand that every image, mask and segmentation exists.
    """
    declaration = get_dataset(dataset, data_root)
    root = Path(data_root)
    path = root / "splits" / declaration.split_file(split, fold)
    if not path.is_file():
        raise DataError(_missing_list(root, declaration, path))
    check_stamp(path)
    return read_split(path, root, contrast, declaration, check_files)


def read_split(
    csv_path: str | Path,
    data_root: str | Path,
    contrast: str,
    declaration: DatasetDeclaration,
    check_files: bool = True,
) -> list[ScanRecord]:
    """Return the rows of one list, in its order, resolved for ``contrast``; duplicates are kept for the audit.

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
    rows = _rows(path, read_text(path))
    records = [_record(row, f"{path.name}, line {line}", root, contrast, declaration) for line, row in rows]
    if not check_files:
        return records
    kept = [r for r in records if not (_declared_missing(r, declaration) and not r.image.is_file())]
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


def read_text(path: Path) -> str:
    """Return the text of a list; a byte order mark is dropped, another encoding than UTF-8 is a ``DataError``."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read the split list: {error.strerror}", case=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError("the split list is not UTF-8 text; save it as 'CSV UTF-8'", case=path.name) from error


def check_stamp(path: Path) -> None:
    """Raise a ``DataError`` if ``splits.json`` beside the list holds another content hash for it."""
    stamp = path.with_name(STAMP_FILE)
    if not stamp.is_file():
        return
    try:
        entries = read_checked_json(stamp, "delete it or make the splits again").values()
        files = {name: digest for entry in entries for name, digest in entry["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"cannot be read ({error}); delete it or make the splits again", case=str(stamp)) from error
    if path.name in files and files[path.name] != text_digest(read_text(path)):
        raise DataError(
            f"the list was changed after it was made (its hash differs from {STAMP_FILE}); results would no longer "
            f"belong to the stated split. Run `uad splits` again, or delete {stamp} to own the change",
            case=path.name,
        )


def _rows(path: Path, text: str) -> Iterable[tuple[int, dict[str, str]]]:
    lines = csv.reader(io.StringIO(text, newline=""))
    try:
        numbered = [(lines.line_num, [cell.strip() for cell in row]) for row in lines]
    except csv.Error as error:
        raise DataError(f"is no CSV file ({error})", case=path.name) from error
    numbered = [(line, cells) for line, cells in numbered if any(cells)]
    header = numbered[0][1] if numbered else []
    absent = [column for column in COLUMNS if column not in header]
    if absent:
        semicolon = len(header) == 1 and ";" in header[0]
        remedy = "the separator is ';': save the list with ','" if semicolon else "add the missing columns"
        raise DataError(
            f"columns {', '.join(absent)} not found. Expected a header with {','.join(COLUMNS)} (others are ignored), "
            f"found {','.join(header) or 'an empty file'}; {remedy}",
            case=path.name,
        )
    for line, cells in numbered[1:]:
        if len(cells) != len(header):
            raise DataError(
                f"{len(cells)} cells where the header has {len(header)}; quote cells that contain commas",
                case=f"{path.name}, line {line}",
            )
        yield line, dict(zip(header, cells, strict=True))


def _record(row: dict[str, str], where: str, root: Path, contrast: str, declaration: DatasetDeclaration) -> ScanRecord:
    case_id = checked_id(case_id_of(row["img_name"], declaration.contrasts), where)
    if row["label"] not in ("0", "1", "0.0", "1.0"):
        raise DataError(f"label must be 0 (healthy) or 1 (pathological), found {row['label']!r}", case=where)
    label = int(row["label"][0])
    if label and not row["seg_path"]:
        raise DataError(
            f"{case_id} has label 1 but no seg_path; without ground truth every Dice would count as a miss", case=where
        )
    image = in_contrast(relative_path(row["img_path"], root, where), contrast, where)
    mask, seg = (
        root / relative_path(row[column], root, where) if row[column] else None for column in ("mask_path", "seg_path")
    )
    return ScanRecord(
        subject=declaration.subject_of(case_id),
        case_id=case_id,
        contrast=contrast,
        image=root / image,
        mask=mask,
        seg=seg,
        label=label,
        age=_age(row["age"], where),
        dataset=declaration.name,
    )


def _age(text: str, where: str) -> float | None:
    try:
        age = float(text) if text else math.nan
    except ValueError as error:
        raise DataError(f"age must be a number of years or empty, found {text!r}", case=where) from error
    if math.isnan(age):
        return None
    if not 0 <= age <= 130:
        raise DataError(f"age must lie between 0 and 130 years, found {text!r}", case=where)
    return age


def relative_path(text: str, root: Path, where: str) -> PurePosixPath:
    r"""Return a path of a list relative to the data root; a leading "/" and "\" as separator are accepted.

    An absolute path counts as such only if it lies in the data root. ``..`` and drive letters raise a ``DataError``.
    """
    path = PurePosixPath(text.replace("\\", "/"))
    absolute = PurePosixPath(root.absolute().as_posix())
    if path.is_relative_to(absolute) and path != absolute:
        path = path.relative_to(absolute)
    parts = [part for part in path.parts if part != path.root]
    if not parts or ".." in parts or parts[0].endswith(":"):
        raise DataError(
            f"the path {text!r} leaves the data root {root}; paths in the lists are relative to it and contain no '..'",
            case=where,
        )
    return PurePosixPath(*parts)


def in_contrast(path: PurePosixPath, contrast: str, where: str) -> PurePosixPath:
    """Exchange the last contrast folder and the contrast suffix of the file name of a path relative to the root.

    >>> in_contrast(PurePosixPath("Train/ixi/t1/IXI105_t1.nii.gz"), "t2", "")
    PurePosixPath('Train/ixi/t2/IXI105_t2.nii.gz')
    """
    stem = without_nifti_ending(path.name)
    ending = path.name[len(stem) :]
    folders = [i for i, part in enumerate(path.parts[:-1]) if stem.endswith(f"_{part}")]
    if not folders or ending not in NIFTI_ENDINGS:
        raise DataError(
            f"cannot tell the contrast of {path}: the file name must end in the name of one of its folders, as in "
            "Train/ixi/t1/NAME_t1.nii.gz",
            case=where,
        )
    parts = list(path.parts)
    parts[-1] = f"{stem.removesuffix(parts[folders[-1]])}{contrast}{ending}"
    parts[folders[-1]] = contrast
    return PurePosixPath(*parts)


def _declared_missing(record: ScanRecord, declaration: DatasetDeclaration) -> bool:
    return record.contrast == "t2" and record.subject in declaration.known_missing_t2


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
