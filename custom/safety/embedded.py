# SPDX-License-Identifier: Apache-2.0
"""The Python package that a release carries in ``custom/``: is it the very package that is installed here?

Whoever opens a release runs that code, so it is no less dangerous than any other Python file. Code that is the same,
byte for byte, as what runs here already adds nothing; anything else (another version, a changed or an added file) is
code of someone else.
"""

from collections.abc import Iterable
from pathlib import Path

PACKAGE = "custom"
_OWN = Path(__file__).resolve().parents[1]


def is_embedded(path: Path, root: Path) -> bool:
    """Return whether ``path`` lies in the package that the bundle ``root`` carries."""
    return path.is_relative_to(root / PACKAGE)


def foreign_files(paths: Iterable[Path], root: Path) -> list[Path]:
    """Return those of the plain files ``paths`` below ``root/custom`` that are not the installed package's own.

    Compiled files are never its own: nobody can see what they hold.
    """
    return [
        path
        for path in paths
        if "__pycache__" in path.parts or not _same(path, _OWN / path.relative_to(root / PACKAGE))
    ]


def _same(path: Path, own: Path) -> bool:
    return (
        own.is_file()
        and own.resolve().is_relative_to(_OWN)
        and path.stat().st_size == own.stat().st_size
        and path.read_bytes() == own.read_bytes()
    )
