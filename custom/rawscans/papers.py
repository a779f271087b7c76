# SPDX-License-Identifier: Apache-2.0
"""Prepared scans in the layout of the papers' data, and their list: what ``uad splits`` and every data set here read.

::

    DATA/Train/<name>/{t1,t2,...,mask}/<case>_<contrast>.nii.gz      healthy scans
    DATA/Test/<name>/{t1,...,mask,seg}/<case>_<contrast>.nii.gz      patients
    DATA/lists/<name>.csv                                            img_name, age, sex, label, img_path, mask_path, seg_path

A public data set of these lies in the folder that its declaration names (``Test/WMH``, ``Test/Brats21``). Files are hard
links where the file system has them, copies elsewhere.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError
from ..core.files import atomic_path, atomic_write_text
from ..prediction.derivatives import case_folder
from ..volumes.records import list_text
from .batch import output_names, usable
from .raw_scan import RawScan

COLUMNS = ("img_name", "age", "sex", "label", "img_path", "mask_path", "seg_path")


def write_papers_layout(
    scans: Sequence[RawScan],
    records: Sequence[Mapping[str, Any]],
    prepared: Path,
    data: Path,
    name: str,
    patients: bool,
    people: Mapping[str, Mapping[str, str]] | None = None,
    folder: str | None = None,
) -> Path:
    """Link the scans that did not fail into the data root ``data`` and write their list; return its path.

    ``records`` are those of :func:`custom.rawscans.batch.prepare_batch`, which wrote into ``prepared``; ``people`` has age
    and sex by subject; ``folder`` is that of the data set, None: ``Train/<name>``, or ``Test/<name>`` for patients.
    """
    if not name.isidentifier():
        raise ConfigError(f"the data set's name {name!r} must be letters, digits and '_': it becomes a folder")
    root = Path(folder or f"{'Test' if patients else 'Train'}/{name}")
    rows = []
    for scan, record in zip(scans, records, strict=True):
        if not usable(dict(record)):
            continue
        names, place = output_names(scan), case_folder(prepared, scan.case_id)
        paths = {}
        for role, kind in (("image", scan.contrast), ("mask", "mask"), ("seg", "seg")):
            if (place / names[role]).is_file():
                paths[role] = root / kind / f"{scan.case_id}_{kind}.nii.gz"
                _link(place / names[role], data / paths[role])
        person = (people or {}).get(scan.case_id.split("_")[0], {})
        row = {"img_name": paths["image"].name, "label": str(int(patients))}
        row |= {key: person.get(key, "") for key in ("age", "sex")}
        for role, column in (("image", "img_path"), ("mask", "mask_path"), ("seg", "seg_path")):
            row[column] = f"/{paths[role].as_posix()}" if role in paths else ""
        rows.append(row)
    path = data / "lists" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, list_text(rows, columns=COLUMNS))
    return path


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source):  # a rename of one link over another leaves both
        return
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
