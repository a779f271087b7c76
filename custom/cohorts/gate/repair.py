# SPDX-License-Identifier: Apache-2.0
"""Set NaN and infinite voxels outside the brain to 0, on request, with the original kept and the repair recorded.

Resampling leaves NaN in what lay outside the field of view, often whole slices at the edge. Where the brain mask says
that no brain is there, 0 is what the background has anyway. Inside the brain nobody knows the value: nothing is changed.
"""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ...core.digests import DamagedFileError, read_checked_json, write_checked_json
from ...core.errors import DataError
from ...core.files import atomic_path, atomic_write_bytes, changing
from ...volumes.read import AFFINE_TOLERANCE_MM
from ...volumes.records import ScanRecord
from ...volumes.resampling import affine_distance_mm
from ..datasets import get_dataset
from .fault import Fault
from .lists import read_lists

ORIGINALS, RECORD = ".unrepaired", "repairs.json"
REPAIRABLE = ("nan-voxels", "infinite-voxels")
_REMEDY = "it tells which scans were changed. Put it right or move it away; nothing was repaired."


@dataclass(frozen=True)
class Repair:
    """How many voxels of a file were set to 0, or why nothing was changed (``refused``).

    >>> Repair("Train/ixi/t1/A_t1.nii.gz", 0, refused="there is no brain mask to tell brain from background").voxels
    0
    """

    file: str
    voxels: int
    refused: str = ""


def repair(root: str | Path, faults: Iterable[Fault]) -> list[Repair]:
    """Repair the images that ``faults`` of :func:`custom.cohorts.gate.check` name; return what came of each.

    The original goes to ``.unrepaired`` below the root, and ``repairs.json`` gets a line with both digests. Faults that
    cannot be repaired are passed over.

    Raises:
        DataError: ``repairs.json`` is damaged; nothing is changed.
    """
    root = Path(root)
    named = dict.fromkeys((f.dataset, f.file) for f in faults if f.code in REPAIRABLE and f.file)
    if not named:
        return []
    done = []
    with changing(root / RECORD):
        _read_record(root)  # a damaged one stops this before anything is changed
        for dataset, file in named:
            record = _record(root, dataset, file)
            if record is not None:
                done.append(_repair_one(root, record, file))
    return done


def _record(root: Path, dataset: str, file: str) -> ScanRecord | None:
    declaration = get_dataset(dataset, root)
    for read in read_lists(root, declaration, None, ()):
        for contrast in declaration.contrasts:
            for record in read.as_split(root, declaration, contrast).records:
                if record.image == root / file:
                    return record
    return None


def _repair_one(root: Path, record: ScanRecord, file: str) -> Repair:
    image = nib.load(record.image)  # its header has been judged: such faults exist for readable files only
    voxels = np.asarray(image.dataobj, dtype=np.float32).copy()
    bad = ~np.isfinite(voxels)
    try:
        inside = bad & _brain(record, voxels.shape, image.affine)
    except DataError as error:
        return Repair(file, 0, str(error))
    if inside.any():
        first = tuple(int(i) for i in np.argwhere(inside)[0])
        return Repair(file, 0, f"{int(inside.sum())} of them lie inside the brain, the first at index {first}")
    voxels[bad] = 0
    before = record.image.read_bytes()
    original = root / ORIGINALS / file
    original.parent.mkdir(parents=True, exist_ok=True)
    if not original.exists():
        atomic_write_bytes(original, before)
    with atomic_path(record.image) as temporary:
        nib.save(type(image)(voxels, image.affine, _float_header(image)), temporary)
        digests = [hashlib.sha256(data).hexdigest() for data in (before, temporary.read_bytes())]
        entry = {"file": file, "voxels": int(bad.sum()), "sha256_before": digests[0], "sha256_after": digests[1]}
        _write_down(root, entry)  # before the image gets its name: no repair without its record
    return Repair(file, int(bad.sum()))


def _brain(record: ScanRecord, shape: tuple[int, ...], affine: Any) -> Any:
    if record.mask is None or not record.mask.is_file():
        raise DataError("there is no brain mask to tell brain from background")
    mask = nib.load(record.mask)
    if mask.shape != shape or affine_distance_mm(mask.affine, affine, list(shape)) > AFFINE_TOLERANCE_MM:
        raise DataError("its brain mask lies on another grid")
    return np.asarray(mask.dataobj) > 0


def _float_header(image: Any) -> Any:
    header = image.header.copy()
    header.set_data_dtype(np.float32)
    header.set_slope_inter(1, 0)
    return header


def _read_record(root: Path) -> list[Any]:
    path = root / RECORD
    if not path.is_file():
        return []
    try:
        return list(read_checked_json(path, _REMEDY)["repairs"])
    except (DamagedFileError, KeyError, TypeError) as error:
        raise DataError(str(error)) from None


def _write_down(root: Path, entry: dict[str, Any]) -> None:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    entry = {**entry, "rule": "not finite and outside the brain mask: 0", "time": when}
    write_checked_json(root / RECORD, {"repairs": [*_read_record(root), entry]})
