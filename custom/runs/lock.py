# SPDX-License-Identifier: Apache-2.0
"""One process per output folder.

The lock is an ``flock`` on ``.lock``: the kernel gives it back when the holder ends in whatever way, so a lock can never
be stale on one machine. Host and process id are written into it for the message.
"""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from ignite.engine import Engine, Events

from ..core.errors import ConfigError
from ..core.files import remove_left_overs
from .failure import on_failure


class RunLock:
    """Hold a folder for the time of a run; attach to an engine, or use as a context manager.

    Args:
        folder: output folder; made if it is missing.
        write: False on all processes of a distributed run but the first, which lock nothing.
    """

    def __init__(self, folder: str | Path, write: bool = True) -> None:
        self.path = Path(folder) / ".lock"
        self.write = write
        self._stream: IO[str] | None = None

    def attach(self, engine: Engine) -> None:
        """Lock when the engine starts, before the other handlers if this one is listed first; give back after all."""
        engine.add_event_handler(Events.STARTED, self._started)
        on_failure(engine, lambda _: self.release())

    def _started(self, engine: Engine) -> None:
        self.acquire()
        if not engine.has_event_handler(self._completed, Events.COMPLETED):  # added late, so it comes last
            engine.add_event_handler(Events.COMPLETED, self._completed)

    def _completed(self, engine: Engine) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock, unless this object holds it already.

        Raises:
            ConfigError: another process works in the folder, or the folder cannot be locked.
        """
        if self._stream is not None or not self.write:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            stream = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 - stays open as long as the lock is held
        except OSError as error:
            raise self._impossible(error) from error
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            stream.close()
            raise ConfigError(
                f"{self.path.parent} is in use by another process ({holder}); two runs in one folder would overwrite each "
                "other. Wait for it, or choose another --output_dir."
            ) from None
        except OSError as error:
            stream.close()
            raise self._impossible(error) from error
        stream.seek(0)
        stream.truncate()
        stream.write(f"host {socket.gethostname()}, process {os.getpid()}\n")
        stream.flush()
        self._stream = stream
        remove_left_overs(self.path.parent)

    def release(self) -> None:
        """Give the lock back."""
        if self._stream is not None:
            fcntl.flock(self._stream, fcntl.LOCK_UN)  # a forked worker may still hold the file open
            self._stream.close()
            self._stream = None

    def _impossible(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"{self.path.parent} cannot be locked against a second run ({error.strerror}); choose an --output_dir on a "
            "file system that can be written and has file locks."
        )

    def __enter__(self) -> "RunLock":
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
