# SPDX-License-Identifier: Apache-2.0
"""What the gate learnt about files, kept beside the data: a file that did not change is not read again.

One JSON file with its digest, replaced as a whole; a damaged one is mentioned, ignored and written anew. Where the data
root cannot be written, the cache lies in the user's cache folder.
"""

import hashlib
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from ...core.digests import DamagedFileError, read_checked_json, with_digest
from ...core.files import atomic_write_text, file_state
from ...volumes.limits import MAX_VOXELS
from .inspect import FileReport, Kind

CACHE_FILE = ".check_data.json"
CACHE_VERSION = 3
_CLOCK_TICK_NS = 20_000_000
_LOG = logging.getLogger(__name__)


class FileCache:
    """Reports by kind and path, relative to the data root; one that is not ``enabled`` neither reads nor writes.

    >>> root = Path("data")
    >>> FileCache(root, enabled=False).get(root / "A_t1.nii.gz", "image") is None
    True
    """

    def __init__(self, data_root: Path, enabled: bool = True) -> None:
        self._root, self._enabled = data_root, enabled
        self._entries: dict[str, Any] = {}
        self.hits = 0
        self._changed = False
        if enabled:
            for path in self._places():
                self._entries.update(_read(path))

    def get(self, path: Path, kind: Kind) -> FileReport | None:
        """Return the report of an unchanged file, else None."""
        entry = self._entries.get(self._key(path, kind))
        if entry is None:
            return None
        try:
            if entry["state"] != _state(path):
                return None
            report = FileReport.from_json(entry["report"])
        except (OSError, KeyError, TypeError, ValueError):
            return None
        self.hits += 1
        return report

    def put(self, path: Path, kind: Kind, report: FileReport) -> None:
        """Remember a report; not of a file that changed within the last tick of the clock, it may change again."""
        try:
            state = _state(path)
        except OSError:
            return
        if time.time_ns() - state[1] > _CLOCK_TICK_NS:
            self._entries[self._key(path, kind)] = {"state": state, "report": vars(report)}
            self._changed = True

    def save(self) -> None:
        """Write the cache where that is possible."""
        if not self._enabled or not self._changed:
            return
        text = json.dumps(with_digest({"version": CACHE_VERSION, "files": self._entries}), allow_nan=True)
        for path in self._places():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                atomic_write_text(path, text)
                return
            except OSError as error:
                _LOG.info("no cache at %s: %s", path, error.strerror)

    def _places(self) -> tuple[Path, ...]:
        try:
            home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        except RuntimeError:  # a process without a home folder, as containers start them
            return (self._root / CACHE_FILE,)
        name = hashlib.sha256(os.fsencode(self._root.absolute())).hexdigest()[:16]
        return self._root / CACHE_FILE, home / "uad-brain-mri" / f"check_data-{name}.json"

    def _key(self, path: Path, kind: Kind) -> str:
        return f"{kind} {path.relative_to(self._root).as_posix()}"


def _state(path: Path) -> list[int]:
    """Return what decides whether a file is read again; the limit, because it decides what counts as too large."""
    return [*file_state(path), MAX_VOXELS]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = read_checked_json(path, "the files are read again.")
    except DamagedFileError as error:
        _LOG.warning("%s", error)
        return {}
    entries = content.get("files") if content.get("version") == CACHE_VERSION else None
    return entries if isinstance(entries, dict) else {}
