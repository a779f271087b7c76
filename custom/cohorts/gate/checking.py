# SPDX-License-Identifier: Apache-2.0
"""The integrity gate: look at every list and every file before anything is trained or scored, and report all faults.

:func:`check` serves the command line; :func:`gate_splits` is its cheap form for the start of a run.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core.codes import CODES
from ...core.errors import ConfigError, DataError
from ...core.progress import progress
from ..datasets import DatasetDeclaration, get_dataset, known_datasets
from ..folds import present_lists
from .cache import FileCache
from .cohort import name_faults, places_of, voxel_faults
from .fault import Fault, fault, ordered
from .inspect import FileReport, Kind, inspect_file
from .lists import Split, read_lists
from .scans import files_of, scan_faults

_NAMED = 20


@dataclass(frozen=True)
class Checked:
    """What is wrong, errors first, and how much was looked at; files ``from_cache`` were not read again.

    >>> found = Checked((fault("list-empty", "no scan in the list", "ixi", "val"),), lists=3, scans=0, files=0, from_cache=0)
    >>> [error.code for error in found.errors], found.as_json()["errors"]
    (['list-empty'], 1)
    """

    faults: tuple[Fault, ...]
    lists: int
    scans: int
    files: int
    from_cache: int

    @property
    def errors(self) -> tuple[Fault, ...]:
        """The faults that must be mended."""
        return tuple(found for found in self.faults if found.severity == "error")

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        counts = {"lists": self.lists, "scans": self.scans, "files": self.files, "from_cache": self.from_cache}
        n_warnings = len(self.faults) - len(self.errors)
        found = [found.as_json() for found in self.faults]
        return {"checked": counts, "errors": len(self.errors), "warnings": n_warnings, "faults": found}


def check(
    data_root: str | Path,
    datasets: Sequence[str] | None = None,
    contrast: str | None = None,
    fold: int | None = None,
    parts: Sequence[str] | None = None,
    workers: int = 0,
    cache: bool = True,
    allow: Sequence[str] = (),
) -> Checked:
    """Look at the lists of all data sets and at every file that they name.

    Args:
        data_root: folder with ``splits``, ``Train`` and ``Test``.
        datasets: names; None takes those with lists or scans under the root.
        contrast: a contrast of the data sets; None takes those that have a folder.
        fold: look only at the lists of this fold and at lists without fold; None looks at all.
        parts: read only the files of these parts ("train", "val", "test"), which must exist; None reads all.
        workers: threads; 0 takes one per core.
        cache: read only files that changed since they were read last.
        allow: codes of errors that are reported as warnings.
    """
    root = Path(data_root)
    if unknown := sorted(set(allow) - set(CODES)):
        raise ConfigError(f"no fault is called {', '.join(unknown)}; known: {', '.join(CODES)}")
    if not root.is_dir():
        raise DataError(f"the data root {root} does not exist; give the folder that holds splits, Train and Test")
    faults: list[Fault] = []
    wanted: list[Split] = []
    n_lists = 0
    for declaration in [get_dataset(name, root) for name in datasets] if datasets else _present(root):
        lists = read_lists(root, declaration, fold, parts or tuple(declaration.split_files)[:1])
        n_lists += len(lists)
        faults += [found for read in lists for found in read.faults]
        for name in _contrasts(root, declaration, contrast):
            splits = [read.as_split(root, declaration, name) for read in lists if read.parsed.understood]
            faults += name_faults(splits, declaration)
            images = [record.image for split in splits for record in split.records]
            if images and not any(image.is_file() for image in images):
                what = f"none of the {len(set(images))} {name} images of {declaration.title} exists"
                folder = f"{declaration.folder}/{name}"
                faults.append(fault("missing-contrast", what, declaration.name, file=folder))
            else:
                wanted += [split for split in splits if parts is None or split.part in parts]
    places = places_of(wanted)
    files = list(dict.fromkeys(file for place in places for file in files_of(place.record)))
    known = FileCache(root, cache)
    reports = _inspect(files, known, workers or os.cpu_count() or 1)
    for place in places:
        healthy = place.splits[0].healthy
        faults += scan_faults(place.record, healthy, reports, root, place.names)
    for name in dict.fromkeys(place.record.contrast for place in places):
        faults += voxel_faults([p for p in places if p.record.contrast == name], reports, root)
    faults = [replace(f, severity="warning") if f.code in allow else f for f in faults]
    return Checked(tuple(ordered(faults)), n_lists, len(places), len(files), known.hits)


def gate_splits(
    data_root: str | Path,
    dataset: str,
    contrast: str,
    fold: int | None = None,
    parts: Sequence[str] | None = None,
) -> list[Fault]:
    """Check one data set that a run is about to use; return the warnings. Arguments are those of :func:`check`.

    Raises:
        DataError: at least one error; the message names the cases.
    """
    checked = check(data_root, [dataset], contrast, fold, parts)
    if checked.errors:
        shown = [f"{f.code}: {f.case or f.split or f.dataset} ({f.file}): {f.what}" for f in checked.errors[:_NAMED]]
        more = [f"and {len(checked.errors) - _NAMED} more"] if len(checked.errors) > _NAMED else []
        raise DataError(
            f"the data have {len(checked.errors)} fault{'s' * (len(checked.errors) > 1)}:\n  "
            + "\n  ".join(shown + more)
            + f"\nAll of them with reasons and remedies: uad check {data_root} --datasets "
            f"{dataset} --contrast {contrast}"
        )
    return list(checked.faults)


def _present(root: Path) -> list[DatasetDeclaration]:
    found = [
        declaration
        for declaration in known_datasets(root).values()
        if (root / declaration.folder).is_dir() or present_lists(root, declaration)
    ]
    if not found:
        raise DataError(
            f"no known data set in {root}: neither split lists nor scan folders of {', '.join(known_datasets(root))}; give the "
            "folder that holds splits, Train and Test"
        )
    return found


def _contrasts(root: Path, declaration: DatasetDeclaration, contrast: str | None) -> tuple[str, ...]:
    if contrast is not None:
        return (contrast,) if contrast in declaration.contrasts else ()
    present = tuple(c for c in declaration.contrasts if (root / declaration.folder / c).is_dir())
    return present or declaration.contrasts[:1]


def _inspect(files: Sequence[tuple[Path, Kind]], known: FileCache, workers: int) -> dict[tuple[Path, Kind], FileReport]:
    reports: dict[tuple[Path, Kind], FileReport] = {}
    waiting = []
    for path, kind in files:
        report = known.get(path, kind)
        if report is not None:
            reports[path, kind] = report
        elif path.is_file():
            waiting.append((path, kind))
    with ThreadPoolExecutor(workers) as pool:
        started = {pool.submit(inspect_file, path, kind): (path, kind) for path, kind in waiting}
        for done in progress(as_completed(started), len(started), "checking files", "file"):
            reports[started[done]] = done.result()
            known.put(*started[done], done.result())
    known.save()
    return reports
