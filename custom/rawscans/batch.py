# SPDX-License-Identifier: Apache-2.0
"""Prepare many scans: resumable, in several processes, a record per scan whose last file says that it is whole.

::

    OUT/sub-01/anat/sub-01_space-cohort_desc-preproc_T2w.nii.gz       corrected, registered, zero outside the brain
                    sub-01_space-cohort_desc-brain_mask.nii.gz
                    sub-01_space-cohort_label-lesion_mask.nii.gz      where a lesion mask was given
                    sub-01_desc-brain_mask.nii.gz                     on the scan's own grid
                    sub-01_from-cohort_to-T2w_mode-image_xfm.json     4x4, RAS mm
                    sub-01_desc-preparation_record.json               written last: digests of everything, measures
    OUT/sub-01.html, OUT/index.html, OUT/summary.json

A scan is done if its record carries the digests of its source, mask, settings, extractor, version and outputs.
"""

import dataclasses
import hashlib
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from numpy.typing import NDArray

from .. import __version__
from ..core.digests import file_sha256, read_checked_json, write_checked_json
from ..core.errors import ConfigError, DiskFullError
from ..core.files import atomic_path, atomic_write_json
from ..core.foreseen import find_foreseen
from ..core.processes import be_the_first_to_go, end_with_parent
from ..core.progress import progress
from ..prediction.dataset import sentence
from ..prediction.derivatives import case_folder
from ..preparation.brain_extraction import installed_extractor, weights_sha256
from ..preparation.prepare import read_subject
from ..preparation.scan_quality import FAIL
from ..volumes.read import read_stored
from ..volumes.records import BIDS_SUFFIXES
from .chain import RawSettings, prepare_scan
from .page import write_index, write_quality_page
from .raw_scan import RawScan

Record = dict[str, Any]
SPACE = "cohort"


def prepare_batch(scans: Sequence[RawScan], folder: Path, settings: RawSettings, workers: int = 1) -> list[Record]:
    """Prepare scans, write results, pages and summary, and return a record per scan in their order."""
    if settings.extractor == "auto":
        settings = dataclasses.replace(settings, extractor=installed_extractor())
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, Record | None] = {scan.case_id: _finished(scan, folder, settings) for scan in scans}
    waiting = [scan for scan in scans if known[scan.case_id] is None]
    done = _run(waiting, folder, settings, max(workers, 1))
    for made in progress(done, total=len(waiting), desc="scans", unit="scan"):
        known[made["case_id"]] = made
    records = [record for scan in scans if (record := known[scan.case_id]) is not None]
    atomic_write_json(folder / "summary.json", {"scans": records, "settings": dataclasses.asdict(settings)})
    write_index(folder, [_row(record) for record in records])
    return records


def _run(scans: Sequence[RawScan], folder: Path, settings: RawSettings, workers: int) -> Iterator[Record]:
    if workers == 1 or len(scans) < 2:
        for scan in scans:
            yield _guarded(scan, folder, settings)
        return
    context = multiprocessing.get_context("spawn")
    alone = []
    with ProcessPoolExecutor(min(workers, len(scans)), context, _start_worker) as pool:
        futures = {pool.submit(_guarded, scan, folder, settings): scan for scan in scans}
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                alone.append(futures[future])
    for scan in alone:  # a worker was killed; which scan did it shows when each has a worker of its own
        with ProcessPoolExecutor(1, context, _start_worker) as pool:
            try:
                yield pool.submit(_guarded, scan, folder, settings).result()
            except BrokenProcessPool:
                yield _failed(
                    scan, "the process that prepared it was killed, as the system does when the memory is full"
                )


def _start_worker() -> None:
    import torch

    end_with_parent()
    be_the_first_to_go()
    torch.set_num_threads(1)


def _guarded(scan: RawScan, folder: Path, settings: RawSettings) -> Record:
    try:
        return _prepare(scan, folder, settings)
    except Exception as error:
        if isinstance(find_foreseen(error), DiskFullError):
            raise
        return _failed(scan, sentence(error, scan.case_id, "report it"))


def _failed(scan: RawScan, reason: str) -> Record:
    text = reason.replace(f"{scan.image.parent}/", "")
    return {"case_id": scan.case_id, "contrast": scan.contrast, "verdict": "failed", "error": text}


def _prepare(scan: RawScan, folder: Path, settings: RawSettings) -> Record:
    subject = read_subject(scan.case_id, scan.image, scan.mask, scan.seg)
    if subject.truth_mask is not None and scan.labels:
        subject = subject.replaced(truth_mask=_relabelled(scan, subject.truth_mask))
    made = prepare_scan(subject, settings)
    names = output_names(scan)
    place = case_folder(folder, scan.case_id)
    place.mkdir(parents=True, exist_ok=True)
    write_nifti(place / names["image"], made.image, made.affine)
    write_nifti(place / names["mask"], made.mask, made.affine)
    if made.seg is not None:
        write_nifti(place / names["seg"], made.seg, made.affine)
    write_nifti(place / names["native_mask"], in_stored_order(made.native.brain, subject.affine), subject.affine)
    matrix = made.moved.to_scan_world
    atomic_write_json(
        place / names["transform"], {"matrix_ras_mm": np.round(matrix, 6).tolist(), "from": SPACE, "to": "scan"}
    )
    outputs = {
        name: file_sha256(place / name) for key, name in names.items() if (place / name).is_file() and key != "record"
    }
    record: Record = {
        "case_id": scan.case_id,
        "contrast": scan.contrast,
        "verdict": made.verdict,
        "measures": {measure.name: measure.as_json() for measure in made.found},
        "record": dict(made.moved.record),
        "notes": list(made.moved.notes),
        "key": _key(scan, settings),
        "outputs": outputs,
    }
    write_quality_page(folder, scan.case_id, record, made, settings.scale)
    write_checked_json(place / names["record"], record)
    return record


def _relabelled(scan: RawScan, seg: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the segmentation with the labels that count as 0 or 1; ``seg`` has them all as 1."""
    labels = np.rint(read_stored(scan.seg or scan.image, scan.case_id).array).astype(int)
    chosen = np.asarray(seg > 0, dtype=np.uint8)
    for label, value in scan.labels.items():
        chosen[labels == label] = value
    return chosen


def output_names(scan: RawScan) -> dict[str, str]:
    """Return the file names of a prepared scan by role."""
    suffix, case_id = BIDS_SUFFIXES.get(scan.contrast, scan.contrast.upper()), scan.case_id
    return {
        "image": f"{case_id}_space-{SPACE}_desc-preproc_{suffix}.nii.gz",
        "mask": f"{case_id}_space-{SPACE}_desc-brain_mask.nii.gz",
        "seg": f"{case_id}_space-{SPACE}_label-lesion_mask.nii.gz",
        "native_mask": f"{case_id}_desc-brain_mask.nii.gz",
        "transform": f"{case_id}_from-{SPACE}_to-{suffix}_mode-image_xfm.json",
        "record": f"{case_id}_desc-preparation_record.json",
    }


def write_nifti(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write a volume, whole or not at all."""
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        image.to_filename(temporary)


def in_stored_order(array: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Return an array in RAS axes in the voxel order of the file whose affine is given."""
    back = ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), io_orientation(affine))
    return np.ascontiguousarray(apply_orientation(array, back))


def _key(scan: RawScan, settings: RawSettings) -> str:
    sources = [scan.image, scan.mask, scan.seg]
    files = [sorted(p.iterdir()) if p.is_dir() else [p] for p in sources if p is not None]
    digests = [[file_sha256(path) for path in group] for group in files]
    extractor = weights_sha256(settings.extractor)
    values = [__version__, scan.contrast, sorted(scan.labels.items()), digests, dataclasses.asdict(settings), extractor]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _finished(scan: RawScan, folder: Path, settings: RawSettings) -> Record | None:
    place = case_folder(folder, scan.case_id)
    try:
        record = read_checked_json(place / output_names(scan)["record"], "it is made again.")
        whole = all(file_sha256(place / name) == digest for name, digest in record["outputs"].items())
        return record if whole and record["key"] == _key(scan, settings) else None
    except (ConfigError, OSError, KeyError):
        return None


def _row(record: Record) -> Record:
    if "measures" not in record:
        return {**record, "page": False, "brain": "–", "words": record["error"]}
    bad = [m for m in record["measures"].values() if m["verdict"] != "ok"]
    words = "; ".join(f"{m['what']}: {m['value']:.3g} (usual {m['usual']})" for m in bad) or "nothing unusual"
    brain = f"{record['measures']['brain_ml']['value']:.0f} ml"
    return {**record, "page": True, "brain": brain, "words": words}


def usable(record: Record) -> bool:
    """Whether a scan may go into a cohort."""
    return record["verdict"] not in (FAIL, "failed")
