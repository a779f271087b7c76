# SPDX-License-Identifier: Apache-2.0
"""One picture and what is known about it; a set of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...detection import Boxes

NOTES_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, and the boxes that readers drew into it.

    Attributes:
        name: file name, unique in the set.
        path: of the file.
        size: width and height in pixels, as the picture is seen (EXIF rotation applied).
        gold: agreed boxes within the picture.
        raters: reader -> boxes within the picture, in the order of the table.
        caption: of the figure; empty if there is none.
        case: id of the patient; the name where there is none.

    >>> picture = Picture("a.png", Path("a.png"), (200, 240), gold=Boxes.of([(10, 20, 5, 5)]), caption="Axial T2 image")
    >>> len(picture.gold), picture.raters
    (1, {})
    """

    name: str
    path: Path
    size: tuple[int, int]
    gold: Boxes
    raters: Mapping[str, Boxes] = field(default_factory=dict)
    caption: str = ""
    case: str = ""


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Pictures in the order of their names.

    Attributes:
        pictures: by name.
        layout: how they were found, in words.
        notes: boxes that were cut off at the edge and the like.

    >>> one = Picture("a.png", Path("a.png"), (200, 240), gold=Boxes.of([(10, 20, 5, 5)]), caption="Axial T2 image")
    >>> other = Picture("b.png", Path("b.png"), (200, 240), gold=Boxes.of([]), caption="FLAIR")
    >>> pictures = PictureSet({"a.png": one, "b.png": other}, layout="folder with boxes.csv")
    >>> len(pictures), list(pictures.subset("T2").gold)
    (2, ['a.png'])
    """

    pictures: Mapping[str, Picture]
    layout: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    def subset(self, word: str | None) -> "PictureSet":
        """Return the pictures with ``word`` in the caption, in this spelling; NOVA's T2 subset is ``"T2"``.

        A caption describes the figure of a report, which may have several panels; the picture itself need not be T2.
        """
        if word is None:
            return self
        return replace(self, pictures={name: p for name, p in self.pictures.items() if word in p.caption})

    @property
    def gold(self) -> dict[str, Boxes]:
        """Agreed boxes by picture."""
        return {name: picture.gold for name, picture in self.pictures.items()}

    def two_raters(self) -> tuple[dict[str, Boxes], dict[str, Boxes]]:
        """Return the boxes of the first and of the second reader, of the pictures that two readers saw."""
        pairs = {name: list(p.raters.values())[:2] for name, p in self.pictures.items() if len(p.raters) >= 2}
        return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}
