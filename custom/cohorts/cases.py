# SPDX-License-Identifier: Apache-2.0
"""From split lists to the datalist of a bundle: every case prepared once, in parallel, all faulty ones named together.

An entry of the datalist is small (no voxels) and can be pickled; :func:`load_case` turns it into the dictionary that
transforms and engines see: ``image`` float32 ``[1, X, Y, Z]`` in [0, 1], ``mask`` and ``seg`` uint8, ``affine``
float64 ``[4, 4]``, ``spacing_mm`` float64 ``[3]``, and ``case_id, dataset, role, label, contrast, notes``.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from ..core.errors import ConfigError, DataError
from ..core.progress import progress
from ..preparation.prepare import Preparation
from ..preparation.prepare import preparation as preset
from ..volumes.records import ScanRecord
from ..volumes.resampling import spacing_of
from .cache import cached_case
from .datasets import DatasetDeclaration, get_dataset
from .split_csv import load_split

ROLES = ("train", "healthy_val", "healthy_test", "val", "test")
Case = dict[str, Any]
_LOG = logging.getLogger(__name__)


def datalist(
    data_root: str | Path,
    dataset: str,
    split: str,
    contrast: str,
    fold: int | None = None,
    preparation: Preparation | str = "standard",
    cache_dir: str | Path | None = None,
    workers: int = 1,
    only: Callable[[Sequence[ScanRecord]], Sequence[ScanRecord]] | None = None,
) -> list[Case]:
    """Return the prepared datalist of one split; the role follows from the data set (see :func:`role_of`).

    ``only`` chooses among the records before any is prepared; the other arguments are those of :func:`build_cases`.
    """
    records = load_split(data_root, dataset, split, contrast, fold)
    declaration = get_dataset(dataset, data_root)
    note = declaration.count_note(split, len(records))
    if note:
        _LOG.info(note)
    records = records if only is None else list(only(records))
    return build_cases(records, preparation, cache_dir, role_of(declaration, split), workers)


def role_of(declaration: DatasetDeclaration, split: str) -> str:
    """Return the role of the cases of a split.

    >>> from custom.cohorts.datasets import DATASETS
    >>> role_of(DATASETS["ixi"], "val"), role_of(DATASETS["mslub"], "val")
    ('healthy_val', 'val')
    """
    return f"healthy_{split}" if declaration.healthy and split != "train" else split


def build_cases(
    records: Sequence[ScanRecord],
    preparation: Preparation | str = "standard",
    cache_dir: str | Path | None = None,
    role: str = "test",
    workers: int = 1,
) -> list[Case]:
    """Prepare all records, in ``workers`` threads, and return their datalist entries, in the order of the records.

    Without ``cache_dir``, the folder of the prepared volumes, every access prepares anew. ``role`` is one of :data:`ROLES`.

    Raises:
        DataError: names all faulty scans.
    """
    if role not in ROLES:
        raise ConfigError(f"role must be one of {', '.join(ROLES)}, got {role!r}")
    settings = preset(preparation) if isinstance(preparation, str) else preparation
    folder = None if cache_dir is None else str(cache_dir)

    def attempt(record: ScanRecord) -> Case | DataError:
        try:
            prepared = cached_case(record, settings, folder)
        except DataError as error:
            return error
        return {
            "record": record,
            "preparation": settings,
            "cache_dir": folder,
            "role": role,
            "case_id": record.case_id,
            "dataset": record.dataset,
            "label": record.label,
            "contrast": record.contrast,
            "notes": "; ".join(prepared.notes),
        }

    with ThreadPoolExecutor(max(1, workers)) as pool:
        results = list(progress(pool.map(attempt, records), len(records), f"preparing {role} scans", "scan"))
    errors = [result for result in results if isinstance(result, DataError)]
    if errors:
        raise DataError(f"{len(errors)} of {len(records)} scans cannot be used:\n  " + "\n  ".join(map(str, errors)))
    return [result for result in results if not isinstance(result, DataError)]


def example_cases(folder: str | Path, role: str = "train") -> list[Case]:
    """Return a datalist of two small made-up scans, A and B, which are written into ``folder``: for trying things out."""
    voxels = np.pad(100 + np.arange(512.0).reshape(8, 8, 8) / 10, 4)
    scan = Path(folder) / "made_up_t1.nii"
    nib.Nifti1Image(voxels, np.diag([2, 2, 2, 1])).to_filename(scan)
    records = [ScanRecord(name, name, "t1", scan, None, None, 0, None, "own") for name in ("A", "B")]
    return build_cases(records, preset("standard", shape=(16, 16, 16)), role=role)


def load_case(case: Case) -> Case:
    """Return the prepared-case dictionary of a datalist entry (from the cache, or prepared again if it is gone)."""
    prepared = cached_case(case["record"], case["preparation"], case["cache_dir"])
    return {
        **{name: torch.from_numpy(getattr(prepared, name)) for name in ("image", "mask", "seg", "affine")},
        "spacing_mm": torch.from_numpy(spacing_of(prepared.affine)),
        **{key: case[key] for key in ("case_id", "dataset", "role", "label", "contrast", "notes")},
    }
