# SPDX-License-Identifier: Apache-2.0
"""Time of the integrity gate: ``python benchmarks/gate.py FOLDER [--count 500]`` generates a cohort and checks it twice.

Scans are 240 x 240 x 155 at 1 mm, int16, packed, each with its own content and mask; about 3 MB a scan. FOLDER is kept, a
second call measures it again. The first check reads every file, the second finds all of them in the gate's cache.
"""

import argparse
import csv
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nibabel as nib
import numpy as np

from custom.cohorts.gate import check
from custom.cohorts.gate.cache import CACHE_FILE
from custom.core.progress import progress

SHAPE = (240, 240, 155)
HEADER = ["img_name", "age", "label", "img_path", "mask_path", "seg_path"]


def write_scan(number: int, root: Path, shape: tuple[int, int, int] = SHAPE) -> list[str]:
    """Write one healthy scan with its mask and return its row of the list: blocks of tissue of its own, and noise."""
    rng = np.random.default_rng(number)
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    radii = rng.uniform(0.7, 0.85, 3)
    mask = sum((axis / radius) ** 2 for axis, radius in zip(axes, radii, strict=True)) < 1
    tissue = rng.integers(300, 900, [-(-n // 12) for n in shape], dtype=np.int16)
    for axis in range(3):
        tissue = np.repeat(tissue, 12, axis=axis)
    image = (tissue[: shape[0], : shape[1], : shape[2]] + rng.integers(0, 32, shape, dtype=np.int16)) * mask
    name = f"G{number:04d}"
    row = [
        f"{name}_t1.nii.gz",
        "50",
        "0",
        f"/Train/demo/t1/{name}_t1.nii.gz",
        f"/Train/demo/mask/{name}_mask.nii.gz",
        "",
    ]
    for file, array in ((row[3], image), (row[4], mask.astype(np.uint8))):
        nib.save(nib.Nifti1Image(array, np.eye(4)), root / file[1:])
    return row


def write_cohort(root: Path, count: int, shape: tuple[int, int, int] = SHAPE) -> None:
    """Write ``count`` scans in the layout of the demo cohort, 80 % for training, 10 % each for validation and test."""
    for folder in ("splits", "Train/demo/t1", "Train/demo/mask"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        made = pool.map(partial(write_scan, root=root, shape=shape), range(count))
        rows = list(progress(made, count, "writing scans", "scan"))
    ends = {
        "train_fold0": (0, 8 * count // 10),
        "val_fold0": (8 * count // 10, 9 * count // 10),
        "test": (9 * count // 10, count),
    }
    for part, (first, last) in ends.items():
        with open(root / "splits" / f"demo_{part}.csv", "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([HEADER, *rows[first:last]])


def main() -> int:
    """Generate where nothing is, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="data root; made if it is missing")
    parser.add_argument("--count", type=int, default=500, help="scans to generate (default 500)")
    parser.add_argument("--workers", type=int, default=2, help="threads of the gate (default 2)")
    parser.add_argument("--smoke", action="store_true", help="tiny scans: only shows that the code runs")
    arguments = parser.parse_args()
    if not (arguments.folder / "splits").is_dir():
        write_cohort(arguments.folder, arguments.count, (32, 32, 24) if arguments.smoke else SHAPE)
    (arguments.folder / CACHE_FILE).unlink(missing_ok=True)
    for name in ("first", "unchanged"):
        start, cpu = time.monotonic(), time.process_time()
        found = check(arguments.folder, ["demo"], "t1", workers=arguments.workers)
        seconds, cpu = time.monotonic() - start, time.process_time() - cpu
        print(
            f"{name:9}  {found.scans} scans, {found.files} files, {found.from_cache} from the cache, {len(found.faults)} "
            f"faults: {seconds:.1f} s, {cpu:.1f} s CPU",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
