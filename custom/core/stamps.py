# SPDX-License-Identifier: Apache-2.0
"""``splits.json``: the digests of the split lists beside it, by data set, so that a changed list is noticed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .digests import read_checked_json, write_checked_json
from .files import changing

STAMP_FILE = "splits.json"
FORMER_COHORT = frozenset({"version", "seed", "variety", "counts", "generator", "sha256"})
"""Keys of the ``DEMO.json`` of a cohort that was made without digest."""


def text_digest(text: str) -> str:
    """Return SHA-256 of a text, independent of line endings and blank lines."""
    return hashlib.sha256("\n".join(line.strip() for line in text.splitlines() if line.strip()).encode()).hexdigest()


def stamp_lists(folder: str | Path, dataset: str, texts: Mapping[str, str], **facts: Any) -> None:
    """Note the digests of a data set's lists in ``splits.json``; those of other data sets stay.

    Args:
        folder: of the lists.
        dataset: name.
        texts: content of the lists by file name.
        **facts: further JSON values to note.

    Raises:
        DamagedFileError: ``splits.json`` was changed after it was written.
    """
    stamp = Path(folder) / STAMP_FILE
    digests = {name: text_digest(text) for name, text in texts.items()}
    content_hash = text_digest("\n".join(f"{name} {digests[name]}" for name in sorted(digests)))
    with changing(stamp):
        entries = read_checked_json(stamp, "delete it and make all splits again.") if stamp.is_file() else {}
        entries[dataset] = {**facts, "content_hash": content_hash, "files": digests}
        write_checked_json(stamp, dict(sorted(entries.items())))


def is_stamped(folder: str | Path, dataset: str) -> bool:
    """Tell whether ``splits.json`` in a folder has an entry for a data set.

    Raises:
        DamagedFileError: ``splits.json`` was changed after it was written.
    """
    stamp = Path(folder) / STAMP_FILE
    return stamp.is_file() and dataset in read_checked_json(stamp, "delete it and make all splits again.")
