# SPDX-License-Identifier: Apache-2.0
"""Prepared cases on disk, keyed by what they depend on: preparation settings, code version, content of the files.

A changed setting or file gives another key, so nothing stale is ever read. Files are hashed once; a small note per
path (size, time of change, SHA-256) saves the second reading. Entries are written under a temporary name and renamed,
so several processes may work in one folder; a damaged entry (zip checksum) is made again.
"""

import hashlib
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np

from ..core.errors import DataError, UADError
from ..preparation.prepare import Preparation, PreparedCase, prepare_case
from ..volumes.records import ScanRecord

CACHE_VERSION = 1
StorageType = Literal["float32", "float16"]


def cached_case(
    record: ScanRecord, how: Preparation, cache_dir: str | Path | None, dtype: StorageType = "float32"
) -> PreparedCase:
    """Return the prepared case, from the cache if it is there, else prepared now and stored.

    Args:
        record: scan with its files.
        how: preparation.
        cache_dir: folder of the cache; None prepares without one.
        dtype: type of the stored image; float16 halves the size at a relative error of 5e-4.
    """
    if cache_dir is None:
        return prepare_case(record, how)
    root = Path(cache_dir)
    entry = entry_path(record, how, root, dtype)
    found = _read(entry)
    if found is not None:
        return found
    prepared = prepare_case(record, how)
    stored = PreparedCase(
        prepared.image.astype(dtype).astype(np.float32), prepared.mask, prepared.seg, prepared.affine, prepared.notes
    )
    _write(entry, stored, dtype)
    return stored


def entry_path(record: ScanRecord, how: Preparation, root: Path, dtype: StorageType = "float32") -> Path:
    """Return the file of a case in the cache; its name is the hash of everything that it depends on."""
    files = [
        file_digest(path, root, record.case_id) if path else "" for path in (record.image, record.mask, record.seg)
    ]
    key = hashlib.sha256(json.dumps([CACHE_VERSION, how.digest(), dtype, *files]).encode()).hexdigest()
    return root / key[:2] / f"{key}.npz"


def file_digest(path: Path, root: Path, case: str) -> str:
    """Return SHA-256 of a file; size and time of change decide whether the remembered one still holds."""
    name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()
    note = root / "files" / name[:2] / f"{name}.json"
    try:
        stat = path.stat()
        state = [stat.st_size, stat.st_mtime_ns]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path", case=case) from error
    try:
        known = json.loads(note.read_text("utf-8"))
        if known["state"] == state:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no note yet, or a damaged one: it is written anew below
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    _replace(note, json.dumps({"state": state, "sha256": digest.hexdigest()}).encode())
    return digest.hexdigest()


def _read(entry: Path) -> PreparedCase | None:
    try:
        with np.load(entry, allow_pickle=False) as arrays:
            return PreparedCase(
                arrays["image"].astype(np.float32),
                arrays["mask"],
                arrays["seg"],
                arrays["affine"],
                tuple(json.loads(str(arrays["notes"]))),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(entry: Path, case: PreparedCase, dtype: StorageType) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=entry.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(
                file,
                image=case.image.astype(dtype),
                mask=case.mask,
                seg=case.seg,
                affine=case.affine,
                notes=np.asarray(json.dumps(case.notes)),
            )
        Path(temporary).replace(entry)
    except OSError as error:
        raise _full(entry, error) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except OSError as error:
        raise _full(path, error) from error


def _full(path: Path, error: OSError) -> UADError:
    return UADError(
        f"cannot write the cache file {path}: {error.strerror}; give a cache folder with space and write permission "
        "(about 3 MB per scan)"
    )
