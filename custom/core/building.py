# SPDX-License-Identifier: Apache-2.0
"""Folders that are whole or absent: built beside the final name, then renamed; what killed processes left is swept."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def building(target: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target``, to be filled and renamed by the caller; it is gone afterwards if it was not.

    While it is built, ``.<name>.<token>.lock`` beside it is locked, so the next builder of the same target can tell the
    folders of processes that died from those that are at work, and removes the former.

    Args:
        target: final name; its parent is made.

    Raises:
        OSError: the parent cannot be made or written.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target)
    folder = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}")
    lock = FileLock(f"{folder}.lock")
    try:
        with lock:
            folder.mkdir()
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        Path(lock.lock_file).unlink(missing_ok=True)


def sweep(target: str | Path) -> None:
    """Remove what processes left that died while they built ``target``."""
    target = Path(target)
    for path in target.parent.glob(f".{target.name}.{'[0-9a-f]' * 12}.lock"):
        lock = FileLock(path)
        with suppress(Timeout, OSError):  # at work, or no permission
            with lock.acquire(blocking=False):
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink(missing_ok=True)
