# SPDX-License-Identifier: Apache-2.0
"""Write the synthetic cohort in the layout of the papers' data, with split tables and a manifest.

Layout under the output folder::

    Train/demo/{t1,t2,mask}/DEMO001_t1.nii.gz ...      (and flair where it is asked for)
    Test/{demo_tumour,demo_ms,demo_stroke,demo_wmh}/{t1,t2,mask,seg}/TUMOUR01_t1.nii.gz ...
    splits/demo_{train,val}_fold0..4.csv, demo_test.csv, demo_<kind>_{val,test}.csv
    DEMO.json  README.txt

Tables have the papers' columns ``img_name, age, label, img_path, mask_path, seg_path``; paths name the T1 image and
begin with ``/Train`` or ``/Test``. Healthy test subjects are in no fold; the folds partition the other healthy ones,
each being validation once. Patients for validation and test are different ones.
"""

import gzip
import hashlib
import json
import multiprocessing
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import starmap
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..core.building import building
from ..core.digests import DamagedFileError, read_checked_json, with_digest
from ..core.errors import ConfigError, DataError
from ..core.files import atomic_write_text
from ..core.processes import end_with_parent
from ..core.progress import progress
from ..core.seeding import derive_seed
from ..core.stamps import FORMER_COHORT, stamp_lists
from ..volumes.records import list_text
from .anatomy import VELOCITY_SCALES
from .contrast import COHORT_CONTRASTS, CONTRASTS, TISSUES
from .fields import output_affine
from .lesions import AGES, KINDS
from .subject import make_subject
from .variety import variety as named_variety

VERSION = 1  # raise it when the same seed gives different images
FOLDS = 5
HEALTHY_AGES = (20, 80)
MANIFEST, README = "DEMO.json", "README.txt"
_LIST_KIND = re.compile(r"_(train|val|test)(_fold\d+)?\.csv$")
README_TEXT = """Synthetic brain MRI: no scan of any person is in this folder.

Every image was computed from a seed and from the ICBM152 2009a non-linear symmetric average brain, as packaged by
nilearn (BSD-3-Clause). Lesions, ages and scanners are invented; their masks are exact. Use it to try the software, not
to compare methods: results on it say little about patients.

ICBM152: Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill
University. Permission to use, copy, modify, and distribute this software and its documentation for any purpose and
without fee is hereby granted, provided that the above copyright notice appear in all copies. The authors and McGill
University make no representations about the suitability of this software for any purpose. It is provided "as is"
without express or implied warranty.
Cite: Fonov et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54(1), 2011,
doi 10.1016/j.neuroimage.2010.07.033.
"""


@dataclass(frozen=True)
class CohortSize:
    """Numbers of subjects: healthy ones in the folds and for testing, patients of each kind for validation and test.

    >>> CohortSize(healthy=8, healthy_test=2, patients_val=1, patients_test=2).healthy
    8
    """

    healthy: int = 24
    healthy_test: int = 4
    patients_val: int = 3
    patients_test: int = 4

    def __post_init__(self) -> None:
        fewest = min(self.healthy_test, self.patients_val, self.patients_test)
        if self.healthy - self.healthy_test < FOLDS or fewest < 0:
            raise ConfigError(
                f"{self} cannot be split: each of the {FOLDS} folds validates on at least one healthy subject that is "
                f"not for testing, and no count is negative; ask for healthy >= healthy_test + {FOLDS}"
            )


@dataclass(frozen=True)
class _Entry:
    """One subject to make: where it goes and what decides its looks."""

    name: str
    folder: str
    kind: str | None
    age: float
    seed: int

    def row(self) -> dict[str, str]:
        """The subject's line in a split table."""
        paths = {part: f"/{self.folder}/{part}/{self.name}_{part}.nii.gz" for part in ("t1", "mask", "seg")}
        return {
            "img_name": f"{self.name}_t1.nii.gz",
            "age": f"{self.age:.1f}",
            "label": "1" if self.kind else "0",
            "img_path": paths["t1"],
            "mask_path": paths["mask"],
            "seg_path": paths["seg"] if self.kind else "",
        }


def _entry(name: str, folder: str, kind: str | None, seed: int) -> _Entry:
    low, high = AGES[kind] if kind else HEALTHY_AGES
    age = np.random.default_rng(derive_seed("demo_cohort_age", seed, name)).uniform(low, high)
    return _Entry(name, folder, kind, round(float(age), 1), derive_seed("demo_cohort", seed, name))


def plan_cohort(size: CohortSize, seed: int) -> dict[str, list[_Entry]]:
    """All split tables by name; the same names for any number of workers."""
    healthy = [_entry(f"DEMO{k + 1:03d}", "Train/demo", None, seed) for k in range(size.healthy)]
    test, rest = healthy[: size.healthy_test], healthy[size.healthy_test :]
    tables = {"demo_test": test}
    for fold in range(FOLDS):
        tables[f"demo_train_fold{fold}"] = [entry for k, entry in enumerate(rest) if k % FOLDS != fold]
        tables[f"demo_val_fold{fold}"] = rest[fold::FOLDS]
    for kind in KINDS:
        count = size.patients_val + size.patients_test
        patients = [_entry(f"{kind.upper()}{k + 1:02d}", f"Test/demo_{kind}", kind, seed) for k in range(count)]
        tables[f"demo_{kind}_val"] = patients[: size.patients_val]
        tables[f"demo_{kind}_test"] = patients[size.patients_val :]
    return tables


def write_nifti(path: Path, values: NDArray[Any], spacing_mm: int = 2) -> None:
    """Write a gzip-compressed NIfTI-1 file whose bytes depend on ``values`` and grid only (no time, no name)."""
    affine = output_affine(spacing_mm)
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=4)
    image.set_qform(affine, code=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=5, mtime=0))


def _write_subject(root: str, entry: _Entry, variety: str, contrasts: Sequence[str], spacing_mm: int) -> str:
    subject = make_subject(entry.seed, entry.age, entry.kind, named_variety(variety), contrasts, spacing_mm)
    parts: dict[str, NDArray[Any]] = {**subject.images, "mask": subject.mask}
    if entry.kind:
        parts["seg"] = subject.seg
    for part, values in parts.items():
        write_nifti(Path(root) / entry.folder / part / f"{entry.name}_{part}.nii.gz", values, spacing_mm)
    return entry.name


def _write_all(tasks: Sequence[tuple[str, _Entry, str, Sequence[str], int]], workers: int) -> Iterator[str]:
    if workers <= 1:
        yield from starmap(_write_subject, tasks)
        return
    context = multiprocessing.get_context("spawn")
    # several threads in each process would fight for the same cores
    one_thread = patch.dict(
        os.environ, dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    )
    with one_thread, ProcessPoolExecutor(min(workers, len(tasks)), context, end_with_parent) as pool:
        yield from pool.map(_write_subject, *zip(*tasks, strict=True))


def _write_lists(folder: Path, tables: Mapping[str, Sequence[_Entry]]) -> None:
    """Write the lists and note their digests, by data set; a list without a scan would be a fault of a data root."""
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, dict[str, str]] = {}
    for file, table in sorted((f"{name}.csv", table) for name, table in tables.items() if table):
        text = list_text((entry.row() for entry in table), numbered=True)
        atomic_write_text(folder / file, text)
        texts.setdefault(_LIST_KIND.sub("", file), {})[file] = text
    for dataset, listed in sorted(texts.items()):
        stamp_lists(folder, dataset, listed)


def _digests(root: Path) -> dict[str, str]:
    found = {path.relative_to(root): path for path in sorted(root.rglob("*")) if path.is_file()}
    found = {name: path for name, path in found.items() if not any(part.startswith(".") for part in name.parts)}
    # without the manifest, and without the locks and caches of later runs, whose names begin with a dot
    return {k.as_posix(): hashlib.sha256(v.read_bytes()).hexdigest() for k, v in found.items() if v.name != MANIFEST}


def _parameters(size: CohortSize, seed: int, variety: str, contrasts: Sequence[str], spacing_mm: int) -> dict[str, Any]:
    counts = asdict(size) | {"kinds": list(KINDS), "folds": FOLDS}
    looks = {"variety": variety, "contrasts": list(contrasts), "spacing_mm": spacing_mm}
    return {"version": VERSION, "seed": seed, **looks, "counts": counts}


def _manifest(root: Path, parameters: dict[str, Any]) -> str:
    generator = {
        "module": "custom.synthetic",
        "affine": output_affine(parameters["spacing_mm"]).tolist(),
        "template": "ICBM152 2009a nonlinear symmetric, as packaged by nilearn",
        "velocity_spacing_and_rms_mm": VELOCITY_SCALES,
        "tissue_mean_and_sd": TISSUES,
        "ages": {"healthy": HEALTHY_AGES, **AGES},
        "variety": asdict(named_variety(parameters["variety"])),
    }
    return json.dumps(with_digest({**parameters, "generator": generator, "sha256": _digests(root)}), indent=1) + "\n"


def is_complete(
    root: Path,
    size: CohortSize,
    seed: int,
    variety: str = "demo",
    contrasts: Sequence[str] = COHORT_CONTRASTS,
    spacing_mm: int = 2,
) -> bool:
    """Whether ``root`` holds exactly this cohort, every file with the recorded SHA-256."""
    try:
        manifest = read_checked_json(root / MANIFEST, "", FORMER_COHORT)
    except DamagedFileError:
        return False
    manifest = {"contrasts": list(COHORT_CONTRASTS), "spacing_mm": 2} | manifest  # from before there was a choice
    same = _parameters(size, seed, variety, contrasts, spacing_mm).items() <= manifest.items()
    return same and manifest.get("sha256") == _digests(root)


def make_demo_cohort(
    output: str | Path,
    size: CohortSize | None = None,
    seed: int = 0,
    workers: int = 0,
    overwrite: bool = False,
    variety: str = "demo",
    contrasts: Sequence[str] = COHORT_CONTRASTS,
    spacing_mm: int = 2,
) -> Path:
    """Make the cohort, or leave it as it is when the same one is already there and intact.

    Args:
        output: folder to make; it appears only when it is complete.
        size: numbers of subjects.
        seed: of the whole cohort; the same seed gives the same files, whatever the number of workers.
        workers: processes; 0 means one per CPU core.
        overwrite: replace another cohort (a folder that has a DEMO.json) at ``output``.
        variety: name of the spreads of subjects and scanners, see :mod:`.variety`; ``"wide"`` is for training alone.
        contrasts: of :data:`.contrast.CONTRASTS`, ``t1`` among them, since lists name its files.
        spacing_mm: voxel size, 2 or 1; scans of 1 mm are halved when they are prepared, as IXI's are.

    Returns:
        The output folder.

    Raises:
        ConfigError: for a contrast or a voxel size that cannot be made.
        DataError: if ``output`` holds something else.
    """
    root = Path(output).absolute()
    size = size or CohortSize()
    named_variety(variety)  # refused before anything is made
    if "t1" not in contrasts or not set(contrasts) <= set(CONTRASTS):
        raise ConfigError(
            f"a synthetic cohort has t1 and what else of {', '.join(CONTRASTS)} is asked for, not {contrasts}"
        )
    if spacing_mm not in (1, 2):
        raise ConfigError(f"a synthetic cohort has voxels of 1 or 2 mm, not {spacing_mm}")
    if root.exists():
        if not overwrite and is_complete(root, size, seed, variety, contrasts, spacing_mm):
            return root
        occupied = not root.is_dir() or any(root.iterdir())
        if occupied and not (overwrite and (root / MANIFEST).is_file()):
            raise DataError(
                "the folder holds something other than this intact synthetic cohort and is left untouched. Choose "
                f"another, or pass --overwrite to replace a synthetic cohort (a folder with {MANIFEST})",
                case=str(root),
            )
    with building(root) as folder:
        tables = plan_cohort(size, seed)
        entries = {entry.name: entry for table in tables.values() for entry in table}
        tasks = [(str(folder), entry, variety, contrasts, spacing_mm) for entry in entries.values()]
        written = _write_all(tasks, workers or os.cpu_count() or 1)
        for _ in progress(written, total=len(tasks), desc="synthetic cohort", unit="subject"):
            pass
        _write_lists(folder / "splits", tables)
        (folder / README).write_text(README_TEXT, encoding="utf-8")
        parameters = _parameters(size, seed, variety, contrasts, spacing_mm)
        (folder / MANIFEST).write_text(_manifest(folder, parameters), encoding="utf-8")
        if root.exists():
            shutil.rmtree(root)
        folder.rename(root)
    return root
