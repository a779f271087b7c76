# SPDX-License-Identifier: Apache-2.0
"""The tables in which boxes come, all turned into the same rows.

=====================  =========================================================  ==============================================
layout                 files                                                      boxes
=====================  =========================================================  ==============================================
released code          ``metadata.csv`` or ``NOVA_metadata.csv``                  Python literals of lists in ``bbox_gold``,
                                                                                  ``bbox_raters``
NOVA, first release    ``captions.csv``, ``bboxes_gold.csv``,                     one row per box: filename, x, y, width, height
                       ``bboxes_raters.csv`` where there is one                   (and rater)
NOVA, now              ``data/*.parquet``                                         lists of {source, x, y, width, height}
any folder             ``boxes.csv``, or none                                     one row per box: filename, x, y, width, height
=====================  =========================================================  ==============================================

x and y are the left upper corner in pixels. Rows are joined by file name, never by position: the parquet file is not in the
order of the names.
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import DataError

Box = tuple[float, float, float, float]
_KEYS = ("x", "y", "width", "height")


@dataclass
class Row:
    """What the tables say about one picture; boxes are (x, y, width, height) in pixels, ``raters`` has them by reader.

    >>> Row("Axial T2 image", gold=[(10.0, 20.0, 5.0, 5.0)]).raters
    {}
    """

    caption: str = ""
    case: str = ""
    gold: list[Box] = field(default_factory=list)
    raters: dict[str, list[Box]] = field(default_factory=dict)


def read_rows(root: Path) -> tuple[str, dict[str, Row] | None]:
    """Return the layout in words and rows by file name; None if there is no table at all.

    Raises:
        DataError: a table that cannot be read, lacks a column, or holds a box that is none.
    """
    for name in ("metadata.csv", "NOVA_metadata.csv"):
        found = next((path for path in (root / name, root / "Data" / name) if path.is_file()), None)
        if found is not None:
            return f"table {found.name}", _released_code(found)
    if (root / "bboxes_gold.csv").is_file():
        return "NOVA, first release", _first_release(root)
    tables = sorted(path for folder in (root, root / "data") for path in folder.glob("*.parquet"))
    if tables:
        return f"table {tables[0].name}", _parquet(tables[0])
    if (root / "boxes.csv").is_file():
        rows: dict[str, Row] = {}
        _add_rows(rows, root / "boxes.csv")
        return "folder with boxes.csv", rows
    return "folder without boxes", None


def _released_code(path: Path) -> dict[str, Row]:
    rows = {}
    for line in _table(path, ("filename",)):
        row = Row(_text(line.get("caption")), _text(line.get("case_id")))
        gold, raters = (_literal(line.get(key), path, line["filename"]) for key in ("bbox_gold", "bbox_raters"))
        row.gold = [box for box, _ in _boxes_in(gold, path, line["filename"])]
        for box, rater in _boxes_in(raters, path, line["filename"]):
            row.raters.setdefault(rater, []).append(box)
        rows[line["filename"]] = row
    return rows


def _first_release(root: Path) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    if (root / "captions.csv").is_file():
        for line in _table(root / "captions.csv", ("filename",)):
            rows[line["filename"]] = Row(_text(line.get("caption")), _text(line.get("case_id")))
    _add_rows(rows, root / "bboxes_gold.csv")
    if (root / "bboxes_raters.csv").is_file():
        _add_rows(rows, root / "bboxes_raters.csv", by_rater=True)
    return rows


def _add_rows(rows: dict[str, Row], path: Path, by_rater: bool = False) -> None:
    for line in _table(path, ("filename", *_KEYS, *(["rater"] if by_rater else []))):
        row = rows.setdefault(line["filename"], Row())
        boxes = row.raters.setdefault(_text(line["rater"]), []) if by_rater else row.gold
        boxes.append(_box([line[key] for key in _KEYS], path, line["filename"]))


def _parquet(path: Path) -> dict[str, Row]:
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except Exception as error:
        raise DataError(
            f"cannot be read as a parquet table ({str(error)[:120]}); copy it again.", case=str(path)
        ) from None
    rows = {}
    for line in table.to_dict("records"):
        if "filename" not in line or "bboxes" not in line:
            raise DataError("has no columns filename and bboxes; it is no table of NOVA.", case=str(path))
        row = Row(_text(line.get("caption_text")), _text(line.get("case_id")))
        for item in line["bboxes"] if line["bboxes"] is not None else ():
            box = _box([item.get(key) for key in _KEYS], path, line["filename"])
            source = _text(item.get("source"))
            (row.gold if source == "gold" else row.raters.setdefault(source, [])).append(box)
        rows[str(line["filename"])] = row
    return rows


def _table(path: Path, columns: Iterable[str]) -> list[dict[str, Any]]:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={"filename": str, "rater": str, "case_id": str})
    except (ValueError, OSError) as error:
        raise DataError(
            f"cannot be read as a table ({str(error)[:120]}); save it as CSV in UTF-8.", case=str(path)
        ) from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(
            f"has no column {', '.join(missing)} (it has {', '.join(map(str, table.columns))}); a table of boxes has "
            "filename, x, y, width and height.",
            case=str(path),
        )
    lines: list[dict[str, Any]] = table.to_dict("records")
    return lines


def _literal(value: Any, path: Path, name: str) -> Mapping[str, Any]:
    text = _text(value)
    if not text:
        return {}
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"the boxes of {name} are no dictionary of lists: {text[:80]!r}.", case=str(path))
    return found


def _boxes_in(lists: Mapping[str, Any], path: Path, name: str) -> list[tuple[Box, str]]:
    if not lists:
        return []
    columns: list[Any] = [lists.get(key) for key in _KEYS]
    count = len(columns[0]) if isinstance(columns[0], list) else -1
    raters = lists.get("rater", [""] * count)
    if any(not isinstance(column, list) or len(column) != count for column in (*columns, raters)):
        raise DataError(
            f"the boxes of {name} lack x, y, width or height, or have lists of different lengths.", case=str(path)
        )
    return [(_box(values, path, name), _text(rater)) for *values, rater in zip(*columns, raters, strict=True)]


def _box(values: Iterable[Any], path: Path, name: str) -> Box:
    try:
        x, y, width, height = (float(value) for value in values)
    except (TypeError, ValueError):
        width = height = x = y = -1.0
    if not (width > 0 and height > 0 and x == x and y == y and max(abs(x), abs(y), width, height) < 1e6):
        raise DataError(f"{name} has a box without a place, a width or a height; mend the row.", case=str(path))
    return x, y, width, height


def _text(value: Any) -> str:
    """Cells that are empty or no text come as NaN or None."""
    return "" if value is None or value != value else str(value)
