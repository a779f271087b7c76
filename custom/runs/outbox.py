# SPDX-License-Identifier: Apache-2.0
"""``tracking.jsonl``: everything that a run wants tracked, one JSON object a line, written before anything is sent.

Kinds of lines: ``{"run": {id, name, experiment, tags, host, pid}}``, ``{"params": {...}}``, ``{"metrics": {...}, "step": n}``,
``{"artifact": path, "to": folder}``, ``{"status": "FINISHED" | "FAILED" | "KILLED"}``; all with ``time`` in ms since 1970
and a digest. A damaged line is left out and mentioned.
"""

import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from ..core.digests import CONTENT_KEY, content_sha256, with_digest
from .secrets import without_secrets

_LOG = logging.getLogger(__name__)
FILE_NAME = "tracking.jsonl"
_CLOCK_S = 2.0  # the system gives the time of its start in whole seconds


class Outbox:
    """Append-only record of a run.

    Args:
        folder: output folder of the run.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     outbox = Outbox(folder)
    ...     outbox.start("ddpm t2", "demo", tags={})
    ...     outbox.metrics({"train/loss": 0.5}, step=20)
    ...     outbox.status("FINISHED")
    ...     events = [event for event, _ in outbox.lines()]
    >>> events[1]["metrics"], events[1]["step"], events[2]["status"]
    ({'train/loss': 0.5}, 20, 'FINISHED')
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / FILE_NAME

    def start(self, name: str, experiment: str, tags: Mapping[str, str], parent: str | Path | None = None) -> None:
        """Say what the run is called and which process it is; a resumed run says it again and stays one run.

        One folder has one run at a time, so a process that wrote here before and never said how it ended was killed:
        its part is marked as failed first.

        Args:
            name: of the run.
            experiment: that it belongs to.
            tags: of the run.
            parent: folder of the run that this one hangs below.
        """
        self.mark_dead(elsewhere=True)
        run = {
            "id": uuid.uuid4().hex,
            "name": name,
            "experiment": experiment,
            "tags": dict(tags),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "born_s": born_s(os.getpid()),
        }
        self._append({"run": run | ({"parent": str(Path(parent).resolve())} if parent else {})})

    def params(self, values: Mapping[str, Any]) -> None:
        """Record settings."""
        self._append({"params": {key: str(value) for key, value in values.items()}})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers of a step."""
        self._append({"metrics": {key: float(value) for key, value in values.items()}, "step": int(step)})

    def artifact(self, path: str | Path, to: str = "") -> None:
        """Record a file or folder to be copied."""
        self._append({"artifact": str(Path(path).resolve()), "to": to})

    def status(self, status: str) -> None:
        """Record how the run ended."""
        self._append({"status": status})

    def mark_dead(self, elsewhere: bool = False) -> bool:
        """Add the status FAILED to a run whose process is gone without a word; return whether it was so.

        Args:
            elsewhere: take processes of other machines, which cannot be seen from here, for gone.
        """
        last, began_ms = None, 0
        for event, _ in self.lines():
            if "run" in event:
                last, began_ms = event["run"], event["time"]
            elif "status" in event:
                last = None
        here = last is not None and last["host"] == socket.gethostname()
        if last is None or (is_alive(last["pid"], began_ms, last.get("born_s")) if here else not elsewhere):
            return False
        self.status("FAILED")
        return True

    def lines(self, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield every whole line from byte ``offset`` on, with the offset behind it; a torn last line waits."""
        if not self.path.exists():
            return
        with open(self.path, "rb") as stream:
            stream.seek(offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                event = _event(line)
                if event is None:  # torn by a crash and ended by the next run's first line, or damaged on disk
                    if not line.isspace():
                        _LOG.warning("%s: the line that ends at byte %d is damaged and left out", self.path, offset)
                    continue
                yield event, offset

    def _append(self, event: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps(with_digest({**without_secrets(dict(event)), "time": int(time.time() * 1000)})) + "\n"
        with open(self.path, "a+b") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size:
                stream.seek(size - 1)
                if stream.read(1) != b"\n":  # torn by a crash: end that line first
                    line = "\n" + line
            stream.write(line.encode())
            if "status" in event:  # a run's end survives a power cut, and with it all before
                stream.flush()
                os.fsync(stream.fileno())


def _event(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line, or None if it is not what was written."""
    try:
        event = json.loads(line)
        whole = isinstance(event, dict) and event.pop(CONTENT_KEY, None) == content_sha256(event)
    except (ValueError, RecursionError):
        return None
    return event if whole else None


def born_s(pid: int) -> float:
    """Return when a process was started, in seconds since the machine was: setting the clock does not change it."""
    return float(psutil.Process(pid).create_time() - psutil.boot_time())


def is_alive(pid: int, since_ms: int, born: float | None = None) -> bool:
    """Tell whether the process that wrote at ``since_ms`` still runs; a later one may have got its number.

    Args:
        pid: its number.
        since_ms: time of the clock, which decides where ``born`` is not known (records of older versions).
        born: what :func:`born_s` was for it.
    """
    try:
        if born is not None:
            return abs(born_s(pid) - born) <= _CLOCK_S
        return bool(psutil.Process(pid).create_time() * 1000 <= since_ms)
    except psutil.Error:
        return False
