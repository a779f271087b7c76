# SPDX-License-Identifier: Apache-2.0
"""Tables as Markdown, CSV, LaTeX and JSON. Shares are printed in %; CSV and JSON hold them unrounded in [0, 1].

The JSON file holds a whole :class:`~custom.benchmark.cells.Table`: documents are filled from it (``benchmarks/documents.py``).
"""

import csv
import io
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..core.digests import DamagedFileError, read_checked_json, write_checked_json
from ..core.errors import DataError
from ..core.files import atomic_write_text
from .cells import Cell, Table

_FORMER_KEYS = frozenset({"command", *(field.name for field in fields(Table))})

_TEX = str.maketrans(
    {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
)


def write_table(table: Table, stem: Path) -> list[Path]:
    """Write ``stem.md``, ``.csv``, ``.tex`` and ``.json`` and return them."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    made = []
    for ending, text in ((".md", markdown(table)), (".csv", csv_text(table)), (".tex", latex(table))):
        made.append(stem.with_name(stem.name + ending))
        atomic_write_text(made[-1], text)
    return [*made, write_json(table, stem.with_name(stem.name + ".json"))]


def write_json(table: Table, path: Path, command: str = "") -> Path:
    """Write the table with the ``command`` that made it, and return the path."""
    rows = [
        {"head": list(head), "cells": [asdict(cell) if isinstance(cell, Cell) else str(cell) for cell in cells]}
        for head, cells in table.rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_checked_json(path, {"command": command, **asdict(table), "rows": rows})
    return path


def read_table(path: Path) -> Table:
    """Return the table that :func:`write_json` wrote.

    Raises:
        DataError: the file is no such table.
    """
    try:
        content = read_checked_json(path, "make it again with the command that it names.", _FORMER_KEYS)
    except DamagedFileError as error:
        raise DataError(str(error)) from None
    try:
        rows = tuple(
            (tuple(row["head"]), tuple(Cell(**cell) if isinstance(cell, dict) else cell for cell in row["cells"]))
            for row in content["rows"]
        )
        return Table(
            content["title"], tuple(content["head"]), tuple(content["columns"]), rows, tuple(content["notes"]),
            float(content["scale"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no table ({error}); make it again with the command that it names.") from error


def markdown(table: Table) -> str:
    """Return the table as Markdown."""
    head = [*table.head, *table.columns]
    lines = [f"**{table.title}**", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    folds = _most_folds(table)
    for names, cells in table.rows:
        lines.append(f"| {' | '.join([*names, *(_text(cell, folds, table.scale) for cell in cells)])} |")
    return "\n".join([*lines, "", *(f"{note}  " for note in table.notes)]).rstrip() + "\n"


def csv_text(table: Table) -> str:
    """Return one line per row; a :class:`Cell` fills nine columns, and a text beside cells stands in the first of them."""
    wide = [any(isinstance(cells[place], Cell) for _, cells in table.rows) for place in range(len(table.columns))]
    names = ("mean", "std", "ci_low", "ci_high", "min", "max", "times_uninformative", "folds", "subjects")
    head = list(table.head)
    for column, is_cell in zip(table.columns, wide, strict=True):
        head += [f"{column} {name}" for name in names] if is_cell else [column]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    for row_head, cells in table.rows:
        line: list[Any] = list(row_head)
        for cell, is_cell in zip(cells, wide, strict=True):
            if isinstance(cell, Cell):
                values = (cell.mean, cell.std, cell.low, cell.high, cell.minimum, cell.maximum, cell.times)
                line += ["" if value is None else repr(float(value)) for value in values] + [cell.folds, cell.subjects]
            else:
                line += [cell, *[""] * (len(names) - 1) * is_cell]
        writer.writerow(line)
    return stream.getvalue()


def latex(table: Table) -> str:
    """Return a ``tabular`` with booktabs rules; notes are comments."""
    head = [*table.head, *table.columns]
    lines = [f"% {note}" for note in (table.title, *table.notes)]
    lines += [rf"\begin{{tabular}}{{{'l' * len(table.head)}{'c' * len(table.columns)}}}", r"\toprule"]
    lines += [" & ".join(map(_tex, head)) + r" \\", r"\midrule"]
    folds = _most_folds(table)
    for names, cells in table.rows:
        texts = [_tex(name) for name in names]
        for cell in cells:
            texts.append(_tex(_text(cell, folds, table.scale)).replace("±", r"$\pm$").replace("–", "--"))
        lines.append(" & ".join(texts) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _most_folds(table: Table) -> int:
    return max((cell.folds for _, cells in table.rows for cell in cells if isinstance(cell, Cell)), default=0)


def _text(cell: Any, folds: int, scale: float) -> str:
    if not isinstance(cell, Cell):
        return str(cell)
    if cell.mean is None:
        return "–"
    text = f"{scale * cell.mean:.2f}"
    text += f" ± {scale * cell.std:.2f}" if cell.std is not None else ""
    if cell.low is not None and cell.high is not None:
        text += f" [{scale * cell.low:.1f}, {scale * cell.high:.1f}]"
    elif cell.minimum is not None and cell.maximum is not None and cell.subjects > 1:
        text += f" ({scale * cell.minimum:.1f} to {scale * cell.maximum:.1f})"
    text += f" ({cell.times:.2f}x)" if cell.times is not None else ""
    return text + (f" ({cell.folds} of {folds} folds)" if 0 < cell.folds < folds else "")


def _tex(text: str) -> str:
    return text.translate(_TEX)
