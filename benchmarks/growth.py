# SPDX-License-Identifier: Apache-2.0
"""How time, memory and disk grow with the number of subjects; ``python benchmarks/growth.py [--largest 1000]``.

Scans are generated (2 mm, working size, every one with its own content). Preparation, training set and evaluation run in
fresh processes, so that the resident memory of each is its own. Timings are CPU seconds per scan on a shared machine.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel as nib
import numpy as np
import psutil
import torch

from benchmarks.phantoms import WORKING_GRID, head
from custom.data.cases import build_cases
from custom.data.dataset import SliceDataset
from custom.data.records import ScanRecord
from custom.evaluation import MapCollector
from custom.evaluation.spool import CaseInfo
from custom.metrics import ScoreHistogram
from custom.postprocessing import in_mm
from custom.scoring import SSIMEnsemble

MIB = 2**20


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    return float(psutil.Process().memory_info().rss / MIB)


def size_of(folder: Path) -> float:
    """Return the bytes below a folder in MiB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MIB


def write_cohort(folder: Path, count: int, shape: tuple[int, int, int]) -> list[ScanRecord]:
    """Write ``count`` different scans with one mask, fast: uncompressed, one phantom with other voxels in it."""
    folder.mkdir(parents=True)
    image, _, mask, _ = head(0, shape)
    base, affine = (1000 * image.numpy()).astype(np.int16), np.diag([2.0, 2.0, 2.0, 1.0])
    nib.save(nib.Nifti1Image(mask.numpy().astype(np.uint8), affine), folder / "mask.nii")
    records = []
    for number in range(count):
        array = base.copy()
        array[tuple(n // 2 for n in shape)] = number
        name = f"scan{number:06d}"
        nib.save(nib.Nifti1Image(array, affine), folder / f"{name}.nii")
        records.append(ScanRecord(name, name, "t2", folder / f"{name}.nii", folder / "mask.nii", None, 0, None, "ixi"))
    return records


def preparation(count: int, folder: str, shape: tuple[int, int, int]) -> dict[str, float]:
    """Prepare ``count`` scans into a cache, twice, and hold them as a training set."""
    torch.set_num_threads(1)
    from custom.data.prepare import preparation as preset

    root = Path(folder)
    records = write_cohort(root / "scans", count, shape)
    how = preset("standard", shape=shape)
    found: dict[str, float] = {"scans": count}
    for name in ("cold", "warm"):
        start = time.process_time()
        cases = build_cases(records, how, root / "cache", "train")
        found[f"{name} preparation, ms CPU a scan"] = 1000 * (time.process_time() - start) / count
    found["datalist, KiB a scan"] = len(json.dumps([str(case) for case in cases])) / 1024 / count
    found["cache, MiB a scan"] = size_of(root / "cache") / count
    before = resident()
    for dtype in ("uint8", "float32"):
        held = SliceDataset(cases, seed=0, dtype=dtype)  # type: ignore[arg-type]
        own = sum(part.nbytes for part in (held.images, held.masks)) / MIB
        found[f"training set {dtype}, MiB a scan"] = own / count
        found[f"resident beyond the arrays, {dtype}, MiB"] = resident() - before - own
        start = time.process_time()
        for index in range(0, len(held), max(1, len(held) // 100)):
            held[1, index, index]
        found[f"a slice, {dtype}, ms CPU"] = 1000 * (time.process_time() - start) / min(len(held), 100)
        del held
    return found


def evaluation(count: int, folder: str, shape: tuple[int, int, int]) -> dict[str, float]:
    """Collect ``count`` reconstructions with two scores and write their maps."""
    torch.set_num_threads(1)
    collector = MapCollector(
        {"ssim_ens": SSIMEnsemble([0.5, 1.1, 1.7]), "l1": lambda a, b: (a - b).abs()}, {"in_mm": in_mm()}, folder
    )
    image, reconstruction, mask, seg = head(0, shape)
    marks: list[float] = []
    start = time.process_time()
    for number in range(count):
        shifted = (reconstruction + number / count / 50).clamp(0, 1)
        collector.add(CaseInfo(f"case{number:06d}", "demo/test", 1), image, shifted, mask, seg)
        if number in (min(9, count - 1), count - 1):
            marks.append(resident())
    seconds = time.process_time() - start
    dice = collector.whole["ssim_ens", "demo/test"].best_dice()[1]
    return {
        "cases": count, "ms CPU a case": 1000 * seconds / count, "resident after 10 cases, MiB": marks[0],
        "resident at the end, MiB": marks[-1], "maps on disk, MiB a case": size_of(Path(folder)) / count, "best Dice": dice,
    }  # fmt: skip


def histograms(count: int, _: str, shape: tuple[int, int, int]) -> dict[str, float]:
    """Stream ``count`` maps through one histogram."""
    torch.set_num_threads(1)
    image, reconstruction, mask, seg = head(0, shape)
    base, found = (image - reconstruction).abs() * mask, ScoreHistogram()
    found.update(base, seg)
    before, start = resident(), time.process_time()
    for number in range(count):
        found.update(base * (1 + number / count), seg)
    seconds = time.process_time() - start
    return {
        "maps": count, "ms CPU a map": 1000 * seconds / count, "resident growth, MiB": resident() - before,
        "histogram, KiB": found.counts.nbytes / 1024, "average precision": found.average_precision(),
    }  # fmt: skip


def in_own_process(function: Any, count: int, shape: tuple[int, int, int], scratch: str | None) -> dict[str, float]:
    """Run a measurement in a fresh process and a scratch folder that is removed."""
    folder = tempfile.mkdtemp(prefix="bench_growth_", dir=scratch)
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return dict(pool.apply(function, (count, str(Path(folder) / "own"), shape)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def table(title: str, results: list[dict[str, float]]) -> str:
    """Return results as Markdown, one column per size."""
    lines = [
        f"### {title}",
        "",
        "| | " + " | ".join(f"{next(iter(r.values())):,.0f}" for r in results) + " |",
        "|---|" + "---|" * len(results),
    ]
    for name in list(results[0])[1:]:
        lines.append(f"| {name} | " + " | ".join(f"{r[name]:.4g}" for r in results) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure all sizes and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--largest", type=int, default=1000, help="largest number of scans that are prepared and evaluated"
    )
    parser.add_argument(
        "--streamed", type=int, default=10000, help="number of maps that are streamed through a histogram"
    )
    parser.add_argument("--scratch", help="folder for temporary files (7 MB a scan)")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny volumes and few of them: only shows that the code runs"
    )
    arguments = parser.parse_args()
    shape = (24, 24, 12) if arguments.smoke else WORKING_GRID
    sizes = [3, 6] if arguments.smoke else [min(100, arguments.largest), arguments.largest]
    streamed = [20, 40] if arguments.smoke else [arguments.streamed // 10, arguments.streamed]
    for title, function, counts in (
        ("Preparation, cache and training set, by number of scans", preparation, sizes),
        ("Evaluation (two scores), by number of cases", evaluation, sizes),
        ("Streaming histogram, by number of maps", histograms, streamed),
    ):
        print(table(title, [in_own_process(function, count, shape, arguments.scratch) for count in counts]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
