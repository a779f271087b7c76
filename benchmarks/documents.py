# SPDX-License-Identifier: Apache-2.0
"""Fill the tables of the documents from result files; no number in them is typed by hand.

A document holds a pair of markers, and between them stands what ``docs/results/NAME.json`` gives::

    <!-- table: NAME -->
    ...
    <!-- /table -->

``<!-- table: NAME rows: l1 uninformative -->`` takes only the rows of which a name at the left, or its first word, is listed.
Between ``<!-- faults -->`` and ``<!-- /faults -->`` stands what the tests of faults say (:mod:`benchmarks.faults`).

``python -m benchmarks.documents`` fills all documents, ``--check`` only says which would change. The result files are
written by ``uad``'s matrix (``OUTPUT/tables/*.json``, copied) and by the modules of this folder.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.faults import fault_table
from custom.benchmark.rendering import markdown, read_table
from custom.core.errors import DataError, UADError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
BLOCK = re.compile(
    r"<!-- table: (?P<name>[\w./-]+)(?: rows: (?P<rows>[\w ./-]+?))? -->\n(?P<body>.*?)<!-- /table -->", re.DOTALL
)

FAULTS = re.compile(r"<!-- faults -->\n.*?<!-- /faults -->", re.DOTALL)


def documents(root: Path = ROOT) -> Iterator[Path]:
    """Yield the Markdown files that may hold tables."""
    yield root / "README.md"
    yield from sorted((root / "docs").glob("*.md"))
    yield from sorted(root.glob("bundles/*/docs/README.md"))


def filled(text: str, results: Path = RESULTS) -> str:
    """Return the document with every marked table as its file gives it.

    Raises:
        DataError: a marker is not closed, its file does not exist, or has no such row.
    """
    if text.count("<!-- table: ") != len(BLOCK.findall(text)) or text.count("<!-- /table -->") != len(
        BLOCK.findall(text)
    ):
        raise DataError("a marker <!-- table: NAME --> has no <!-- /table --> behind it, or the other way round.")
    text = BLOCK.sub(lambda found: _block(found, results), text)
    return FAULTS.sub(lambda _: f"<!-- faults -->\n{fault_table()}<!-- /faults -->", text)


def _block(found: re.Match[str], results: Path) -> str:
    table, marker = read_table(results / f"{found['name']}.json"), found[0].partition("\n")[0]
    if found["rows"]:
        wanted = set(found["rows"].split())
        names = {row[0]: {*row[0], *(name.partition(" ")[0] for name in row[0])} for row in table.rows}
        rows = tuple(row for row in table.rows if wanted & names[row[0]])
        if missing := sorted(wanted.difference(*names.values())):
            raise DataError(f"{marker}: the table has no row {', '.join(missing)}.")
        table = replace(table, rows=rows)
    return f"{marker}\n{markdown(table)}<!-- /table -->"


def main() -> int:
    """Fill or check; return 1 if a file is missing, or if ``--check`` found a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    changed, faults = [], 0
    for path in documents():
        text = path.read_text(encoding="utf-8")
        try:
            new = filled(text)
        except UADError as error:
            print(f"{path.relative_to(ROOT)}: {error}", file=sys.stderr)
            faults += 1
            continue
        if new != text:
            changed.append(path)
            if not check:
                path.write_text(new, encoding="utf-8")
    for path in changed:
        print(f"{path.relative_to(ROOT)}: {'differs from its result files' if check else 'filled'}")
    return int(faults > 0 or (check and bool(changed)))


if __name__ == "__main__":
    sys.exit(main())
