# SPDX-License-Identifier: Apache-2.0
"""Prepared cases on disk, keyed by what they depend on: preparation settings, code version, content of the files.

A changed setting or file gives another key, so nothing stale is ever read. Files are hashed once; a small note per
path saves the second reading as long as nothing about the file changed. Entries and notes carry their digest and appear
whole, so several processes may work in one folder; a damaged one is made again and mentioned.
"""

import hashlib
import io
import json
import logging
import os
from pathlib import Path

import numpy as np

from ..core.digests import (
    DamagedFileError,
    file_sha256,
    read_checked_json,
    read_sealed,
    write_checked_json,
    write_sealed,
)
from ..core.errors import DataError, DiskFullError, ResourceError
from ..core.files import NO_SPACE, file_state
from ..preparation.prepare import Preparation, PreparedCase, prepare_case
from ..volumes.records import ScanRecord

CACHE_VERSION = 2
_ARRAYS = ("image", "mask", "seg", "affine")
_LOG = logging.getLogger(__name__)


def cached_case(record: ScanRecord, preparation: Preparation, cache_dir: str | Path | None) -> PreparedCase:
    """Return the prepared case, from the cache if it is there, else prepared now and stored; None: without a cache."""
    if cache_dir is None:
        return prepare_case(record, preparation)
    root = Path(cache_dir)
    entry = entry_path(record, preparation, root)
    found = _read(entry, record.case_id)
    if found is None:
        found = prepare_case(record, preparation)
        _write(entry, found)
    return found


def entry_path(record: ScanRecord, preparation: Preparation, root: Path) -> Path:
    """Return the file of a case in the cache; its name is the hash of everything that it depends on."""
    files = [
        file_digest(path, root, record.case_id) if path else "" for path in (record.image, record.mask, record.seg)
    ]
    key = hashlib.sha256(json.dumps([CACHE_VERSION, preparation.digest(), "float32", *files]).encode()).hexdigest()
    return root / key[:2] / f"{key}.npz"


def file_digest(path: Path, root: Path, case: str) -> str:
    """Return SHA-256 of a file; the remembered one if the file was not changed since."""
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    note = root / "files" / name[:2] / f"{name}.json"
    try:
        state = file_state(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path", case=case) from error
    if note.is_file():
        try:
            known = read_checked_json(note, f"{path} is read again.")
            if known.get("path") == name and known.get("state") == state:
                return str(known["sha256"])
        except DamagedFileError as error:
            _LOG.warning("%s", error)
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path", case=case) from error
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_checked_json(note, {"path": name, "state": state, "sha256": digest})
    except OSError as error:
        raise _full(note, error) from error
    return digest


def _read(entry: Path, case: str) -> PreparedCase | None:
    if not entry.is_file():
        return None
    try:
        data = read_sealed(entry, entry.stem, "it is made anew.")
    except DamagedFileError as error:
        _LOG.warning("%s: %s", case, error)
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        volumes = {name: arrays[name] for name in _ARRAYS}
        return PreparedCase(**volumes, notes=tuple(json.loads(str(arrays["notes"]))))


def _write(entry: Path, case: PreparedCase) -> None:
    stream = io.BytesIO()
    arrays = {name: getattr(case, name) for name in _ARRAYS}
    np.savez(stream, **arrays, notes=np.asarray(json.dumps(case.notes)))
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(entry, stream.getvalue(), entry.stem)
    except OSError as error:
        raise _full(entry, error) from error


def _full(path: Path, error: OSError) -> ResourceError:
    fault = DiskFullError if error.errno in NO_SPACE else ResourceError
    return fault(
        f"cannot write the cache file {path}: {error.strerror}; give a cache folder with space and write permission "
        "(about 3 MB per scan)"
    )
