# SPDX-License-Identifier: Apache-2.0
"""All faults in one table for the terminal: grouped by fault, with why and remedy once, then one line per place."""

import shutil
import textwrap
from collections.abc import Sequence
from itertools import groupby

from .checking import Checked
from .fault import Fault


def table(checked: Checked, width: int | None = None) -> str:
    """Return the table and a last line with the counts; ``width`` is that of a line, None: of the terminal."""
    width = max(width or shutil.get_terminal_size((100, 24)).columns, 40)
    lines: list[str] = []
    for (severity, code), group in groupby(checked.faults, key=lambda f: (f.severity, f.code)):
        found = list(group)
        lines += _wrapped(f"{severity.upper()} {code} ({len(found)})", width, "", "  ")
        lines += _wrapped(f"why:    {found[0].why}", width, "  ", "          ")
        lines += _wrapped(f"remedy: {found[0].remedy}", width, "  ", "          ")
        lines += [line for row in _rows(found, width) for line in row]
        lines.append("")
    n_errors = len(checked.errors)
    n_warnings = len(checked.faults) - n_errors
    counts = f"{n_errors} error{'s' * (n_errors != 1)}, {n_warnings} warning{'s' * (n_warnings != 1)}"
    lines += _wrapped(
        f"{checked.scans} scans, {checked.files} files ({checked.from_cache} unchanged since the last check), "
        f"{checked.lists} lists: {counts}",
        width,
        "",
        "",
    )
    return "\n".join(lines)


def _rows(found: Sequence[Fault], width: int) -> list[list[str]]:
    cells = [(_where(f), f.file, f.what) for f in found]
    sizes = [min(max(len(row[i]) for row in cells), width // 4) for i in (0, 1)]
    sizes.append(max(width - 8 - sum(sizes), 12))
    out = []
    for row in cells:
        columns = [textwrap.wrap(_printable(text), size) or [""] for text, size in zip(row, sizes, strict=True)]
        height = max(len(column) for column in columns)
        padded = [column + [""] * (height - len(column)) for column in columns]
        out.append(
            [
                "    " + "  ".join(part.ljust(size) for part, size in zip(parts, sizes, strict=True)).rstrip()
                for parts in zip(*padded, strict=True)
            ]
        )
    return out


def _where(f: Fault) -> str:
    return " ".join(part for part in (f.dataset, f.split, f.case) if part)


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(_printable(text), width, initial_indent=first, subsequent_indent=rest)


def _printable(text: str) -> str:
    """Return the text without control characters: file names and cells of lists are foreign."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
