# SPDX-License-Identifier: Apache-2.0
"""One progress bar for everything long: on stderr, with the remaining time, silent when stderr is no terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(iterable: Iterable[T], total: int | None = None, desc: str = "", unit: str = "it") -> Iterator[T]:
    """Yield the items of ``iterable`` behind a bar that shows count, rate and estimated remaining time.

    Args:
        iterable: what to go through.
        total: number of items when ``iterable`` has no length.
        desc: short text before the bar.
        unit: what one item is called.
    """
    yield from tqdm(
        iterable,
        total=total,
        desc=desc,
        unit=unit,
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
    )
