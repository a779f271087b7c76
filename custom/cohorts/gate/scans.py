# SPDX-License-Identifier: Apache-2.0
"""Faults of the files of one scan, alone and against each other; all from the small reports, no voxel is read here."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ...volumes.read import AFFINE_TOLERANCE_MM, MASK_SHARE
from ...volumes.records import ScanRecord
from ...volumes.resampling import affine_distance_mm
from .fault import Fault, fault
from .inspect import FileReport, Kind

Reports = Mapping[tuple[Path, Kind], FileReport]
Box = tuple[tuple[int, int], ...]
_LEAST_OVERLAP = 0.5


def files_of(record: ScanRecord) -> list[tuple[Path, Kind]]:
    """Return the files that a record names, with what they are."""
    labels: list[tuple[Path, Kind]] = [(path, "label") for path in (record.mask, record.seg) if path is not None]
    return [(record.image, "image"), *labels]


def scan_faults(record: ScanRecord, healthy: bool, reports: Reports, root: Path, split: str) -> Iterator[Fault]:
    """Yield what is wrong with the files of one scan; files without a report do not exist."""

    def at(path: Path, code: str, what: str) -> Fault:
        return fault(code, what, record.dataset, split, record.case_id, path.relative_to(root).as_posix())

    for file, kind in files_of(record):
        report = reports.get((file, kind))
        if report is None:
            yield at(file, "missing-file", "the file does not exist")
        for code, what in report.faults if report else ():
            yield at(file, code, what)
    image = _usable(reports, record.image, "image")
    mask = _usable(reports, record.mask, "label")
    seg = _usable(reports, record.seg, "label")
    for path, label in ((record.mask, mask), (record.seg, seg)):
        if path is not None and label is not None and image is not None:
            yield from (at(path, code, what) for code, what in _grid_faults(label, image))
    if record.mask is None:
        yield at(record.image, "mask-none", "the list names no brain mask")
    elif mask is not None:
        yield from (at(record.mask, code, what) for code, what in _mask_faults(mask, image))
    if record.seg is None or seg is None:
        return
    if healthy and seg.nonzero > 0:
        yield at(record.seg, "pathology-in-healthy", f"the segmentation has lesion voxels ({seg.nonzero:.2%})")
    if not healthy and seg.nonzero == 0:
        yield at(record.seg, "seg-empty", "the ground truth is empty")
    if mask is not None and mask.shape == seg.shape and mask.box and seg.box and overlap(seg.box, mask.box) == 0:
        yield at(record.seg, "seg-outside-mask", "no lesion voxel lies in the box of the brain mask")


def overlap(first: Box, second: Box) -> float:
    """Return the shared volume of two boxes as a share of the smaller one.

    >>> overlap(((0, 9), (0, 9), (0, 9)), ((5, 9), (0, 9), (0, 9)))
    1.0
    """
    shared = np.prod([max(0, 1 + min(a[1], b[1]) - max(a[0], b[0])) for a, b in zip(first, second, strict=True)])
    return float(shared / min(np.prod([1 + high - low for low, high in box]) for box in (first, second)))


def _usable(reports: Reports, path: Path | None, kind: Kind) -> FileReport | None:
    report = None if path is None else reports.get((path, kind))
    return report if report is not None and report.usable else None


def _grid_faults(label: FileReport, image: FileReport) -> Iterator[tuple[str, str]]:
    if label.shape != image.shape:
        yield "grid-shape", f"the shape is {label.shape}, that of the image {image.shape}"
        return
    apart = affine_distance_mm(np.array(label.affine), np.array(image.affine), list(image.shape))
    if apart > AFFINE_TOLERANCE_MM:
        yield "grid-position", f"it lies up to {apart:.3g} mm away from the image (limit {AFFINE_TOLERANCE_MM} mm)"


def _mask_faults(mask: FileReport, image: FileReport | None) -> Iterator[tuple[str, str]]:
    if mask.nonzero == 0:
        yield "mask-empty", "no voxel is set"
    elif not MASK_SHARE[0] <= mask.nonzero <= MASK_SHARE[1]:
        yield "mask-implausible", f"it covers {mask.nonzero:.1%} of the volume"
    if image is not None and image.shape == mask.shape and image.box and mask.box:
        shared = overlap(image.box, mask.box)
        if shared < _LEAST_OVERLAP:
            yield "mask-elsewhere", f"only {shared:.0%} of its box lies in the box of the image's signal"
