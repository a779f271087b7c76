# SPDX-License-Identifier: Apache-2.0
"""One process per output folder.

The lock is one of the operating system's (by ``filelock``: ``flock`` on Linux and macOS, ``LockFile`` on Windows) on
``.lock``: it is given back when the holder ends in whatever way, so a lock can never be stale on one machine. Host and
process id of the holder stand in ``.lock-holder``, for the message.
"""

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ..core.errors import ConfigError, DiskFullError, UADError
from ..core.files import NO_SPACE, remove_left_overs
from .failure import on_failure

if TYPE_CHECKING:
    from ignite.engine import Engine


class RunLock:
    """Hold a folder for the time of a run; attach to an engine, or use as a context manager.

    Args:
        folder: output folder; made if it is missing.
        write: False on all processes of a distributed run but the first, which lock nothing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, RunLock(folder):
    ...     pass  # a second run is refused here
    """

    def __init__(self, folder: str | Path, write: bool = True) -> None:
        self.path = Path(folder) / ".lock"
        self.write = write
        self._lock: FileLock | None = None

    def attach(self, engine: "Engine") -> None:
        """Lock when the engine starts, before the other handlers if this one is listed first; give back after all."""
        from ignite.engine import Events  # seconds that a lock without an engine does not wait for

        engine.add_event_handler(Events.STARTED, self._started)
        on_failure(engine, lambda _: self.release())

    def _started(self, engine: "Engine") -> None:
        from ignite.engine import Events

        self.acquire()
        if not engine.has_event_handler(self._completed, Events.COMPLETED):  # added late, so it comes last
            engine.add_event_handler(Events.COMPLETED, self._completed)

    def _completed(self, engine: "Engine") -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock, unless this object holds it already.

        Raises:
            ConfigError: another process works in the folder, or the folder cannot be locked.
            DiskFullError: there is no space for the lock.
        """
        if self._lock is not None or not self.write:
            return
        folder = self.path.parent
        holder = folder / ".lock-holder"
        lock = FileLock(self.path, thread_local=False)  # Ignite's handlers may run in another thread
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            who = holder.read_text(encoding="utf-8").strip() if holder.is_file() else "unknown"
            raise ConfigError(
                f"{folder} is in use by another process ({who}); two runs in one folder would overwrite each other. Wait "
                "for it, or choose another --output_dir (of a prediction: another output folder)."
            ) from None
        except OSError as error:
            raise self._impossible(error) from error
        try:
            holder.write_text(f"host {socket.gethostname()}, process {os.getpid()}\n", encoding="utf-8")
        except OSError as error:
            lock.release()
            raise self._impossible(error) from error
        self._lock = lock
        remove_left_overs(folder)

    def release(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _impossible(self, error: OSError) -> UADError:
        if error.errno in NO_SPACE:
            return DiskFullError(
                f"the disk is full ({self.path.parent}); free some space and run the same command again."
            )
        return ConfigError(
            f"{self.path.parent} cannot be locked against a second run ({error.strerror}); choose an --output_dir on a "
            "file system that can be written and has file locks."
        )

    def __enter__(self) -> "RunLock":
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
