# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent: write beside the final name, flush to disk, rename.

A killed process or a full disk leaves the previous file as it was; the temporary file never has a final name.
:func:`read_json` reads such a file back, or says what is wrong with it.
"""

import errno
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from .errors import ConfigError, DiskFullError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_LFS = b"version https://git-lfs"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success it is synced and renamed to ``path``.

    The temporary name ends like the final one (``.nii.gz`` stays ``.nii.gz``), so writers that look at the ending work.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path``; NaN and infinity are refused, they are not JSON."""
    atomic_write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def changing(path: str | Path) -> Iterator[None]:
    """Keep other processes out while this one reads a file, changes it and writes it back; its folder must exist.

    Without it, the later of two writers would undo what the earlier one added.
    """
    path = Path(path)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


def remove_left_overs(folder: str | Path, older_than_s: float = 3600.0) -> None:
    """Remove the temporary files in ``folder`` that killed processes left there.

    Args:
        folder: not searched below; it need not be there.
        older_than_s: younger files may belong to a process that is writing them. A file from as far in the future was
            written before the clock was set back, and goes too.
    """
    for path in Path(folder).glob(".tmp-*"):
        with suppress(OSError):  # removed by another process
            if abs(time.time() - path.stat().st_mtime) >= older_than_s:
                path.unlink()


def read_json(path: str | Path, remedy: str) -> dict[str, Any]:
    """Return the JSON object in ``path``.

    Args:
        path: file that this package or another program wrote.
        remedy: end of the message if it cannot be used.

    Raises:
        ConfigError: no file, no UTF-8, no JSON, nested without end, or no object.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        refuse_pointer(path)
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}, {str(error)[:120]}"
        raise ConfigError(f"{path} cannot be read: {reason}; {remedy}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds {type(value).__name__} instead of a JSON object; {remedy}")
    return value


def file_state(path: Path) -> list[int]:
    """Return numbers of which one differs if a file was changed: size, both times of change, inode, device.

    The kernel's own time of change cannot be set back, so a file of equal size and time is noticed too.
    """
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]


def refuse_pointer(path: str | Path) -> None:
    """Raise a ``ConfigError`` if a file only stands for one that Git LFS has not fetched."""
    with suppress(OSError), open(path, "rb") as stream:
        if stream.read(len(_LFS)) == _LFS:
            raise ConfigError(f"{path} is a Git LFS pointer, it only stands for the file; fetch that by: git lfs pull")


def require_writable(folder: str | Path, remedy: str = "choose another output folder.") -> None:
    """Check that files can be written into ``folder``; call it before the work whose results go there.

    Args:
        folder: it need not be there; what the check makes, it removes.
        remedy: end of the message.

    Raises:
        ConfigError: a file is in the way, or there is no permission or no such file system.
        DiskFullError: there is no space.
    """
    folder = Path(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".tmp-{uuid.uuid4().hex[:12]}-probe"
        try:
            probe.write_bytes(b"probe")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise DiskFullError(f"the disk is full ({folder}); free some space, or {remedy}") from error
        raise ConfigError(f"nothing can be written into {folder} ({error.strerror}); {remedy}") from error
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def _sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk; Windows cannot do the second, where a power cut may undo a rename."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def expanded(path: str | Path) -> Path:
    """Return a path whose leading ``~`` is the home folder, unless something in the current folder has that very name.

    In that case, and where no home folder is known, it becomes absolute, since some libraries (nibabel) expand whatever
    begins with ``~``.
    """
    path = Path(path)
    if not path.parts or not path.parts[0].startswith("~"):
        return path
    try:
        return path.absolute() if Path(path.parts[0]).exists() else path.expanduser()
    except RuntimeError:  # no such user, or a process without a home folder
        return path.absolute()
