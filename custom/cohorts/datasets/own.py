# SPDX-License-Identifier: Apache-2.0
"""Data sets of one's own: ``dataset.json`` in the data root, no Python needed.

::

    {"datasets": [
        {"name": "mysite", "healthy": true,  "contrasts": ["flair"], "folder": "Train/mysite",
         "subject_pattern": "(sub-[0-9]+)", "citation": "...", "licence": "..."},
        {"name": "mypatients", "healthy": false, "contrasts": ["flair"], "folder": "Test/mypatients"}
    ]}

Only ``name`` and ``healthy`` are needed. ``folder`` is ``Train/<name>`` or ``Test/<name>``, with a subfolder per contrast
(files ``<case>_<contrast>.nii.gz``), and ``mask`` and ``seg`` beside them. ``contrasts`` defaults to the subfolders that
are there. The split lists are called ``<name>_train_fold0.csv`` and so on; ``splits`` says which of them there are, for
example ``["test"]`` for patients that no threshold is tuned on.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ...core.digests import read_own_json, write_checked_json
from ...core.errors import ConfigError
from ...core.files import changing
from .base import DatasetDeclaration, cross_validation_files, patient_files

FILE_NAME = "dataset.json"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CONTRAST = re.compile(r"[a-z][a-z0-9]*")
_TEXTS = ("title", "citation", "licence", "subject_pattern", "folder", "how_to_get")
_KEYS = {"name", "healthy", "contrasts", "splits", *_TEXTS}
_NOT_CONTRASTS = {"mask", "seg"}


def own_datasets(data_root: str | Path) -> Mapping[str, DatasetDeclaration]:
    """Return the declarations in ``data_root/dataset.json``; none if there is no such file.

    Raises:
        ConfigError: the file is damaged or a value in it cannot be used; the sentence names file, data set and key.
    """
    path = Path(data_root) / FILE_NAME
    if not path.is_file():
        return {}
    content = read_own_json(path, "correct it, or remove it if only the built-in data sets are used.")
    entries = content.get("datasets", [content])
    if "datasets" in content and len(content) > 1:
        raise ConfigError(
            f"{path}: unknown {', '.join(sorted({*content} - {'datasets'}))} beside 'datasets'; remove it."
        )
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: 'datasets' must be a list of data sets, got {entries!r}.")
    found: dict[str, DatasetDeclaration] = {}
    for entry in entries:
        declaration = _declaration(path, entry)
        if declaration.name in found:
            raise ConfigError(f"{path}: two data sets are called {declaration.name!r}; rename one.")
        found[declaration.name] = declaration
    return found


def declare(data_root: str | Path, name: str, healthy: bool, subject_pattern: str) -> Path | None:
    """Add a data set to ``data_root/dataset.json`` unless one of that name is declared; return the file if it was written.

    Raises:
        ConfigError: the name or the pattern cannot be used, or the name is declared for the other kind of scans.
    """
    path = Path(data_root) / FILE_NAME
    with changing(path):
        known = own_datasets(data_root)
        if name in known:
            if known[name].healthy != healthy:
                kinds = ("patients", "healthy scans")
                raise ConfigError(
                    f"{path}: {name!r} holds {kinds[not healthy]}, the new scans are {kinds[healthy]}; choose another name."
                )
            return None
        entry = {"name": name, "healthy": healthy, "subject_pattern": subject_pattern}
        _declaration(path, {**entry, "contrasts": ["t1"]})  # the real ones are the folders found whenever it is read
        content = read_own_json(path, "correct it, or remove it.") if path.is_file() else {"datasets": []}
        write_checked_json(path, {"datasets": [*content.get("datasets", [content]), entry]})
    return path


def _declaration(path: Path, entry: Any) -> DatasetDeclaration:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str) or not _NAME.fullmatch(entry["name"]):
        raise ConfigError(
            f"{path}: each data set needs a 'name' of lower-case letters, digits and '_', got {entry!r:.200}."
        )
    name = entry["name"]
    if unknown := sorted(set(entry) - _KEYS):
        raise ConfigError(f"{path}, {name}: unknown {', '.join(unknown)}; known: {', '.join(sorted(_KEYS))}.")
    healthy = entry.get("healthy")
    if not isinstance(healthy, bool):
        raise ConfigError(
            f"{path}, {name}: 'healthy' must be true (scans without pathology, for training) or false (patients), "
            f"got {healthy!r}."
        )
    for key in _TEXTS:
        if not isinstance(entry.get(key, ""), str):
            raise ConfigError(f"{path}, {name}: {key!r} must be a text, got {entry[key]!r}.")
    folder = entry.get("folder") or f"{'Train' if healthy else 'Test'}/{name}"
    if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts or "\\" in folder:
        raise ConfigError(
            f"{path}, {name}: the folder {folder!r} must be relative to the data root, with '/' and without '..'."
        )
    pattern = entry.get("subject_pattern", r"(.+)")
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ConfigError(f"{path}, {name}: subject_pattern {pattern!r} is no regular expression ({error}).") from error
    if groups < 1:
        raise ConfigError(f"{path}, {name}: subject_pattern {pattern!r} needs a group, for example '(sub-[0-9]+)'.")
    return DatasetDeclaration(
        name=name,
        title=entry.get("title") or name,
        citation=entry.get("citation", ""),
        licence=entry.get("licence", ""),
        contrasts=_contrasts(path, name, entry.get("contrasts"), path.parent / folder),
        healthy=healthy,
        folder=folder,
        split_files=_split_files(path, name, healthy, entry.get("splits")),
        subject_pattern=pattern,
        how_to_get=entry.get("how_to_get") or f"declared in {path}",
    )


def _split_files(path: Path, name: str, healthy: bool, stated: Any) -> Mapping[str, str]:
    files = cross_validation_files(name) if healthy else patient_files(name)
    if stated is None:
        return files
    if not isinstance(stated, list) or not stated or any(split not in files for split in stated):
        raise ConfigError(f"{path}, {name}: 'splits' must be a list of some of {', '.join(files)}, got {stated!r}.")
    return {split: file for split, file in files.items() if split in stated}


def _contrasts(path: Path, name: str, stated: Any, folder: Path) -> tuple[str, ...]:
    if stated is None:
        present = (p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else ()
        stated = sorted(p for p in present if _CONTRAST.fullmatch(p) and p not in _NOT_CONTRASTS)
    good = isinstance(stated, list) and stated and all(isinstance(c, str) and _CONTRAST.fullmatch(c) for c in stated)
    if not good or set(stated) & _NOT_CONTRASTS:
        raise ConfigError(
            f'{path}, {name}: \'contrasts\' must be a list of folder names such as ["t1", "flair"] (lower-case letters '
            f"and digits), got {stated!r}; the scans are expected in {folder}/<contrast>/<case>_<contrast>.nii.gz."
        )
    return tuple(stated)
