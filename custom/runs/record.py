# SPDX-License-Identifier: Apache-2.0
"""``run.json``: what was run, with which versions, when, and how it ended; enough to run it again.

The file is rewritten at start and end, each time as a whole and with its digest. A start that resumes keeps the first ``started`` and adds
an entry to ``resumed``. A status "running" whose process is gone means that it was killed.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ..core.digests import content_sha256, read_checked_json, write_checked_json
from .failure import on_failure
from .secrets import without_secrets

FILE_NAME = "run.json"
PACKAGES = ("torch", "monai", "pytorch-ignite", "numpy", "scipy", "scikit-image", "nibabel")


class RunRecord:
    """Attach to a trainer or an evaluator, behind the lock of the folder.

    Args:
        folder: output folder; made if it is missing.
        settings: JSON values of the run; they are stored and their SHA-256 identifies the configuration.
        seeds: ``{what: seed}``.
        write: False on all processes but the first.

    Attributes:
        parameters: of the network, None where it has none.
        training_seconds: how long a training took, over all its resumptions; set before it ends.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     record = RunRecord(folder, {"lr": 0.001}, seeds={"run": 1})
    ...     record.begin()
    ...     record.end("finished")
    ...     content = RunRecord.read(folder)
    >>> content["status"], content["settings"], content["seeds"]
    ('finished', {'lr': 0.001}, {'run': 1})
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        seeds: Mapping[str, int] | None = None,
        write: bool = True,
    ) -> None:
        self.path = Path(folder) / FILE_NAME
        self.settings = without_secrets(json.loads(json.dumps(dict(settings), default=str)))
        self.seeds = dict(seeds or {})
        self.parameters: int | None = None
        self.training_seconds: float | None = None
        self.write = write
        self._record: dict[str, Any] = {}

    def attach(self, engine: Engine) -> None:
        """Register with the engine."""
        if self.write:
            engine.add_event_handler(Events.STARTED, lambda _: self.begin())
            engine.add_event_handler(Events.COMPLETED, lambda _: self.end("finished"))
            on_failure(engine, self.fail)

    def begin(self) -> None:
        """Write the record of a run that starts or resumes."""
        now, before = _now(), self.read(self.path.parent) or {}
        self._record = {
            "status": "running",
            "command": without_secrets([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "started": before.get("started", now),
            "resumed": [*before.get("resumed", []), now] if before else [],
            "ended": None,
            "revision": source_revision(),
            "versions": versions(),
            "system": platform.system(),
            "settings": self.settings,
            "settings_sha256": content_sha256(self.settings),
            "seeds": self.seeds,
            "parameters": self.parameters,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_checked_json(self.path, self._record)

    def fail(self, error: BaseException) -> None:
        """Record the failure, or the stop that was asked for."""
        self.end(
            "stopped" if getattr(error, "exit_code", 0) > 128 else "failed",
            without_secrets(f"{type(error).__name__}: {error}"),
        )

    def end(self, status: str, reason: str | None = None) -> None:
        """Record how the run ended; nothing happens if it never began or has ended already."""
        if self._record:
            how: dict[str, Any] = {"status": status, "reason": reason, "ended": _now()}
            if self.training_seconds is not None:
                how["training_seconds"] = round(self.training_seconds, 1)
            write_checked_json(self.path, {**self._record, **how})
            self._record = {}

    @staticmethod
    def read(folder: str | Path) -> dict[str, Any] | None:
        """Return the record in ``folder``, or None; a damaged one is a ConfigError."""
        path = Path(folder) / FILE_NAME
        return read_checked_json(path, "remove it: it only tells how the run went.") if path.is_file() else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that numbers depend on; None of one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def source_revision(digits: int = 40, changed: str = "+") -> str | None:
    """Return the git revision of this package's source, with ``changed`` behind it if files differ from it.

    None outside a repository.
    """
    root = Path(__file__).resolve().parents[2]
    command = [
        "git",
        "-C",
        str(root),
        "describe",
        "--always",
        f"--abbrev={digits}",
        f"--dirty={changed}",
        "--exclude=*",
    ]
    if not (root / ".git").exists():
        return None
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
