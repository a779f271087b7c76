# SPDX-License-Identifier: Apache-2.0
"""Tables of a matrix for the documents: ``python -m benchmarks.publish OUTPUT NAME TABLE ...``.

``OUTPUT/tables/TABLE.json`` goes to ``docs/results/NAME_TABLE.json``, from where ``python -m benchmarks.documents`` puts it
into the documents. Rows of a matrix that were not run have no number and are left out; the table says so in a note. The note on
revisions of the code loses their names, which the history of the documents need not know.
``--columns`` takes some of the columns (their beginnings), ``--rows`` some of the rows (first names).
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from custom.benchmark.cells import Cell, Table
from custom.benchmark.rendering import read_table, write_json

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
REVISIONS = "Made by several revisions of the code"
LEFT_OUT = "Not run, and left out: "


def published(table: Table, columns: Sequence[str] = (), rows: Sequence[str] = ()) -> Table:
    """Return the table without rows that have no number, of the wanted columns and rows (all if none are named)."""
    kept = [n for n, name in enumerate(table.columns) if not columns or name.startswith(tuple(columns))]
    chosen = [(head, tuple(cells[n] for n in kept)) for head, cells in table.rows if not rows or head[0] in rows]
    full = tuple((head, cells) for head, cells in chosen if any(map(_is_number, cells)))
    absent = list(dict.fromkeys(head[0] for head, cells in chosen if not any(map(_is_number, cells))))
    kept_notes = [f"{REVISIONS}." if note.startswith(REVISIONS) else note for note in table.notes]
    notes = (*kept_notes, *([f"{LEFT_OUT}{', '.join(absent)}."] if absent else []))
    return replace(table, columns=tuple(table.columns[n] for n in kept), rows=full, notes=notes)


def _is_number(cell: Any) -> bool:
    return cell.mean is not None if isinstance(cell, Cell) else cell not in ("", "-", "–")


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", help="output folder of uad matrix")
    parser.add_argument("name", help="beginning of the file names")
    parser.add_argument("tables", nargs="+", help="names of tables, for example table1_average_precision")
    parser.add_argument("--columns", nargs="+", default=[])
    parser.add_argument("--rows", nargs="+", default=[])
    given = parser.parse_args()
    shown = "".join(f" --{key} {' '.join(getattr(given, key))}" for key in ("columns", "rows") if getattr(given, key))
    for name in given.tables:
        table = published(read_table(Path(given.output) / "tables" / f"{name}.json"), given.columns, given.rows)
        command = f"uad matrix {given.name}; python -m benchmarks.publish OUTPUT {given.name} {name}{shown}"
        print(write_json(table, RESULTS / f"{given.name}_{name}.json", command).relative_to(RESULTS.parents[1]))


if __name__ == "__main__":
    main()
