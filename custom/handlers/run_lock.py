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

from ..errors import ConfigError


class RunLock:
    """Hold a folder for the time of a run; attach to an engine, or use as a context manager.

    Args:
        folder: output folder; made if it is missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / ".lock"
        self._stream: IO[str] | None = None

    def attach(self, engine: Engine) -> None:
        """Lock when the engine starts; list this handler first."""
        engine.add_event_handler(Events.STARTED, lambda _: self.acquire())
        engine.add_event_handler(Events.COMPLETED, lambda _: self.release())

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            ConfigError: another process works in the folder.
        """
        if self._stream is not None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stream = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 - stays open as long as the lock is held
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            stream.close()
            raise ConfigError(
                f"{self.path.parent} is in use by another process ({holder}); two runs in one folder would overwrite each "
                "other. Wait for it, or choose another --output_dir."
            ) from None
        stream.seek(0)
        stream.truncate()
        stream.write(f"host {socket.gethostname()}, process {os.getpid()}\n")
        stream.flush()
        self._stream = stream

    def release(self) -> None:
        """Give the lock back."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> "RunLock":
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
