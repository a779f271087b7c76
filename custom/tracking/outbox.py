# SPDX-License-Identifier: Apache-2.0
"""``tracking.jsonl``: everything that a run wants tracked, one JSON object a line, written before anything is sent.

Kinds of lines: ``{"run": {name, experiment, tags}}``, ``{"params": {...}}``, ``{"metrics": {...}, "step": n}``,
``{"artifact": path, "to": folder}``, ``{"status": "FINISHED" | "FAILED" | "KILLED"}``; all with ``time`` in ms since 1970.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE_NAME = "tracking.jsonl"


class Outbox:
    """Append-only record of a run.

    Args:
        folder: output folder of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / FILE_NAME

    def start(self, name: str, experiment: str, tags: Mapping[str, str], parent: str | Path | None = None) -> None:
        """Say what the run is called and which process it is; a resumed run says it again and stays one run.

        Args:
            name: of the run.
            experiment: that it belongs to.
            tags: of the run.
            parent: folder of the run that this one hangs below.
        """
        run = {
            "name": name,
            "experiment": experiment,
            "tags": dict(tags),
            "host": socket.gethostname(),
            "pid": os.getpid(),
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
                try:
                    yield json.loads(line), offset
                except ValueError:
                    continue  # torn by a crash and completed by the next run's first line

    def _append(self, event: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({**event, "time": int(time.time() * 1000)}) + "\n"
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
