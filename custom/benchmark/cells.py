# SPDX-License-Identifier: Apache-2.0
"""A table of numbers and the cells in it; :mod:`.rendering` writes it in several formats."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..metrics import mean_std


@dataclass(frozen=True)
class Cell:
    """One number of a table in its own unit; None where a quantity is not defined.

    ``low`` and ``high`` are a 95 % interval, ``minimum`` and ``maximum`` the range of fewer subjects than that needs, and
    ``times`` the multiple of the uninformative map.

    >>> cell = Cell(mean=0.42, std=0.03, folds=5, subjects=12)
    >>> defined(cell), defined(Cell())
    (True, False)
    """

    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    folds: int = 0
    subjects: int = 0
    minimum: float | None = None
    maximum: float | None = None
    times: float | None = None

    @classmethod
    def over_folds(cls, values: Sequence[float]) -> "Cell":
        """Return mean and standard deviation of one value per fold; without any, an empty cell."""
        return cls(*mean_std(values), folds=len(values)) if values else cls()


@dataclass(frozen=True)
class Table:
    """Title, column heads, rows of (row head, cells) and notes; ``cells`` are texts or :class:`Cell`.

    >>> from custom.benchmark.rendering import markdown
    >>> table = Table("Dice in %", ("method",), ("tumours (T2)",), ((("ddpm",), (Cell(0.42, 0.03),)),))
    >>> print(markdown(table), end="")
    **Dice in %**
    <BLANKLINE>
    | method | tumours (T2) |
    |---|---|
    | ddpm | 42.00 ± 3.00 |
    """

    title: str
    head: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[Any, ...]], ...]
    notes: tuple[str, ...] = field(default=())
    scale: float = 100.0  # what texts show of a cell: 100 for shares in %


def defined(cell: Cell) -> bool:
    """Say whether a cell holds a number."""
    return cell.mean is not None and math.isfinite(cell.mean)
