# SPDX-License-Identifier: Apache-2.0
"""One kind of progress for everything long, on stderr: a bar on a terminal, now and then a line in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(
    iterable: Iterable[T], total: int | None = None, desc: str = "", unit: str = "it", every_s: float = 20.0
) -> Iterator[T]:
    """Yield the items of ``iterable`` behind a bar that shows count, rate and estimated remaining time.

    Args:
        iterable: what to go through.
        total: number of items when ``iterable`` has no length.
        desc: short text before the bar.
        unit: what one item is called.
        every_s: least seconds between two lines where stderr is no terminal; what takes less time says nothing there.
    """
    if sys.stderr.isatty():
        yield from tqdm(iterable, total=total, desc=desc, unit=unit, file=sys.stderr, dynamic_ncols=True)
        return
    total = len(iterable) if total is None and isinstance(iterable, Sized) else total
    last = time.monotonic()
    for done, item in enumerate(iterable, start=1):
        yield item
        if time.monotonic() - last >= every_s:
            last = time.monotonic()
            print(f"{desc}: {done}{f'/{total}' if total else ''} {unit}", file=sys.stderr, flush=True)
