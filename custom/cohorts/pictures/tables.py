# SPDX-License-Identifier: Apache-2.0
"""Find the pictures of a folder, and join them with the tables beside them."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ...core.errors import DataError
from ...detection import Boxes
from .records import NOTES_SHOWN, Picture, PictureSet
from .rows import Row, read_rows

SUFFIXES = (".png", ".jpg", ".jpeg")
_EXIF_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)


def read_pictures(root: str | Path) -> PictureSet:
    """Return the pictures below ``root``; see :mod:`.rows` for the layouts.

    Pictures without a row in the table are left out, with a note; a row without a picture is an error. Boxes that run over
    the edge are cut off there, with a note (in NOVA, 5 agreed boxes do).

    Raises:
        DataError: no folder, no pictures, a picture that a table names is missing or is none, two of the same name.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"the folder {root} does not exist; give the folder with the pictures.")
    paths = _by_name(root)
    layout, rows = read_rows(root)
    if not paths:
        raise DataError(f"there are no pictures ({', '.join(SUFFIXES)}) in {root} or below.")
    if rows is not None and not rows:
        raise DataError(
            f"the {layout} in {root} has no rows, so it names no picture and no box; fill it, or take it away."
        )
    missing = sorted(set(rows or ()) - set(paths))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"the table names {missing[0]}{more}, but there is no such picture in {root}; unpack all pictures there."
        )
    notes: list[str] = []
    pictures = {
        name: _picture(name, paths[name], row, notes)
        for name, row in sorted((rows if rows is not None else {name: Row() for name in paths}).items())
    }
    left_out = len(paths) - len(pictures)
    if left_out:
        notes.append(f"{left_out} pictures are in no table and are left out")
    if len(notes) > NOTES_SHOWN:
        notes[NOTES_SHOWN:] = [f"and {len(notes) - NOTES_SHOWN} more"]
    return PictureSet(pictures, layout, tuple(notes))


def picture_size(path: Path) -> tuple[int, int]:
    """Return width and height in pixels of a picture as it is seen, from its header.

    Raises:
        DataError: not a picture.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            return (height, width) if image.getexif().get(_EXIF_ORIENTATION) in _TURNED else (width, height)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot be read as a picture ({str(error)[:100]}); copy it again.", case=path.name) from None


def _by_name(root: Path) -> Mapping[str, Path]:
    paths: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith("."):
            if path.name in paths:
                raise DataError(f"two pictures are called {path.name}: {paths[path.name]} and {path}; rename one.")
            paths[path.name] = path
    return paths


def _picture(name: str, path: Path, row: Row, notes: list[str]) -> Picture:
    size = picture_size(path)

    def inside(boxes: list[tuple[float, float, float, float]], whose: str) -> Boxes:
        clipped, changed = Boxes.of(boxes).clipped(*size)
        if changed:
            notes.append(
                f"{name}: {changed} {whose} boxes ran over the edge of {size[0]} x {size[1]} pixels and were cut off"
            )
        return clipped

    raters = {rater: inside(boxes, f"{rater}'s") for rater, boxes in row.raters.items()}
    return Picture(name, path, size, inside(row.gold, "agreed"), raters, row.caption, row.case or name)
