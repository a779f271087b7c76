# SPDX-License-Identifier: Apache-2.0
"""Type, range and meaning of one setting."""

import math
import os
from dataclasses import dataclass
from typing import Any, Literal

LARGEST = 2**31 - 1
_ARTICLES = {"whole number": "a whole number", "number": "a number", "path": "a path", "word": "a word"}
Kind = Literal["whole number", "number", "true or false", "word", "path", "whole numbers", "numbers", "words", "any"]


@dataclass(frozen=True)
class Knob:
    """One setting.

    Attributes:
        kind: type of its value; a plural takes one value or a list.
        help: meaning in one line, with the unit.
        low: least value allowed.
        high: greatest value allowed.
        above: the least value itself is not allowed.
        below: the greatest value itself is not allowed.
        choices: words allowed.
        nothing: may be null.

    >>> batch_size = Knob("whole number", "slices in a batch", low=1)
    >>> batch_size.accepts(32), batch_size.accepts(0), batch_size.accepts("32")
    (True, False, False)
    """

    kind: Kind
    help: str
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    choices: tuple[str, ...] = ()
    nothing: bool = False

    @property
    def expected(self) -> str:
        """Type and range in words.

        >>> Knob("number", "", low=0, high=1, above=True).expected, Knob("whole number", "", low=1).expected
        ('a number above 0, at most 1', 'a whole number from 1')
        """
        words = f"one of {', '.join(self.choices)}" if self.choices else _ARTICLES.get(self.kind, self.kind)
        if self.low > -math.inf:
            words += f" {'above' if self.above else 'from'} {self.low:g}"
        if self.high < LARGEST or (self.high < math.inf and self.kind == "number"):
            words += f"{', below' if self.below else ', at most' if self.above else ' to'} {_whole(self.high)}"
        return f"{words}, or null" if self.nothing else words

    def accepts(self, value: Any) -> bool:
        """Tell whether ``value`` has the type and lies in the range."""
        if value is None:
            return self.nothing
        if self.kind in ("whole numbers", "numbers", "words"):
            values = list(value) if isinstance(value, (list, tuple)) else [value]
            return bool(values) and all(self._accepts_one(item) for item in values)
        return self._accepts_one(value)

    def _accepts_one(self, value: Any) -> bool:
        if self.kind == "any":
            return True
        if self.kind == "true or false":
            return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))
        if self.kind == "path":
            return isinstance(value, os.PathLike) or (isinstance(value, str) and bool(value) and "\0" not in value)
        if self.kind in ("word", "words"):
            return isinstance(value, str) and bool(value) and (not self.choices or value in self.choices)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return False
        if self.kind.startswith("whole") and value != int(value):
            return False
        over = value > self.low if self.above else value >= self.low
        return over and (value < self.high if self.below else value <= self.high)


def _whole(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"
