# SPDX-License-Identifier: Apache-2.0
"""How time, memory and disk grow with the number of scans and with resolution; ``python benchmarks/growth.py``.

Scans are generated (2 mm, every one with its own content). The number of scans grows to 10,000 on a grid of 48 x 48 x 25,
an eighth of the working grid's voxels, so that the disk holds them; resolution grows with 30 scans. Every measurement
runs in a fresh process, so that its resident memory is its own. Timings are CPU seconds on a shared machine.
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

from benchmarks.networks import network
from benchmarks.phantoms import WORKING_GRID, head
from custom.cohorts.cases import build_cases
from custom.cohorts.dataset import SliceDataset
from custom.evaluation import EvaluationPlan, MapCollector, Measurer
from custom.evaluation.spool import CaseInfo
from custom.metrics import ScoreHistogram
from custom.postprocessing import in_mm
from custom.scoring import SSIMEnsemble, l1
from custom.volumes.records import ScanRecord

MIB = 2**20
SMALL_GRID, LARGE_GRID = (48, 48, 25), (192, 192, 100)
Shape = tuple[int, int, int]


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    return float(psutil.Process().memory_info().rss / MIB)


def size_of(folder: Path) -> float:
    """Return the bytes below a folder in MiB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MIB


def write_cohort(folder: Path, count: int, shape: Shape) -> list[ScanRecord]:
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


def preparation(count: int, folder: str, shape: Shape) -> dict[str, float]:
    """Prepare ``count`` scans into a cache, twice, and hold them as a training set."""
    torch.set_num_threads(1)
    from custom.preparation.prepare import preparation as preset

    root = Path(folder)
    records = write_cohort(root / "scans", count, shape)
    settings = preset("standard", shape=shape)
    found: dict[str, float] = {"scans": count}
    for name in ("cold", "warm"):
        start = time.process_time()
        cases = build_cases(records, settings, root / "cache", "train")
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


def evaluation(count: int, folder: str, shape: Shape) -> dict[str, float]:
    """Collect ``count`` reconstructions with two scores, write their maps, freeze thresholds and measure every case."""
    torch.set_num_threads(1)
    collector = MapCollector(
        {"ssim_ens": SSIMEnsemble([0.5, 1.1, 1.7]), "l1": l1},
        {"in_mm": in_mm()},
        folder,
        (2.0, 2.0, 2.0),
    )
    image, reconstruction, mask, seg = head(0, shape)
    for number in range(10):
        healthy = CaseInfo(f"healthy{number}", "demo/healthy", 0)
        collector.add(healthy, image, reconstruction, mask, torch.zeros_like(seg))
    before, start, wall = resident(), time.process_time(), time.perf_counter()
    for number in range(count):
        shifted = (reconstruction + number / count / 50).clamp(0, 1)
        collector.add(CaseInfo(f"case{number:06d}", "demo/test", 1), image, shifted, mask, seg)
    seconds, waited = time.process_time() - start, time.perf_counter() - wall
    collected, start = resident(), time.process_time()
    plan = EvaluationPlan({"demo/test": None}, "demo/healthy")
    measured = Measurer()(collector, plan)
    return {
        "cases": count,
        "scoring, ms CPU a case": 1000 * seconds / count,
        "scoring, ms wall a case": 1000 * waited / count,
        "resident before, MiB": before,
        "resident growth while scoring, MiB": collected - before,
        "measuring, ms CPU a case": 1000 * (time.process_time() - start) / count,
        "resident growth while measuring, MiB": resident() - collected,
        "rows of per_case.csv a case": len(measured.rows) / count,
        "maps on disk, MiB a case": size_of(Path(folder)) / (count + 10),
    }


def histograms(count: int, _: str, shape: Shape) -> dict[str, float]:
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


def forward(count: int, _: str, shape: Shape) -> dict[str, float]:
    """Pass ``count`` slices through the small network, four at a time."""
    torch.set_num_threads(1)
    net, slices = network("small").eval(), torch.rand(4, 1, *shape[:2])
    steps, passes = torch.full((4,), 499), max(1, count // 4)
    with torch.inference_mode():
        net(slices, timesteps=steps)
        start = time.process_time()
        for _number in range(passes):
            net(slices, timesteps=steps)
    return {"slices": 4 * passes, "ms CPU a slice, fp32": 1000 * (time.process_time() - start) / (4 * passes)}


def in_own_process(function: Any, count: int, shape: Shape, scratch: str | None) -> dict[str, float]:
    """Run a measurement in a fresh process and a scratch folder that is removed."""
    folder = tempfile.mkdtemp(prefix="bench_growth_", dir=scratch)
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return dict(pool.apply(function, (count, str(Path(folder) / "own"), shape)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def table(title: str, columns: list[str], results: list[dict[str, float]]) -> str:
    """Return results as Markdown, one column per size."""
    lines = [f"### {title}", "", "| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name in results[0]:
        lines.append(f"| {name} | " + " | ".join(f"{result[name]:,.4g}" for result in results) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure all sizes and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", nargs="+", type=int, default=[100, 1000, 10000], help="numbers of scans")
    parser.add_argument("--scratch", help="folder for temporary files (1.2 MB a scan of the largest number)")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny volumes and few of them: only shows that the code runs"
    )
    arguments = parser.parse_args()
    scans, grid, few = (([3, 6], (24, 24, 12), 2) if arguments.smoke else (arguments.scans, SMALL_GRID, 30))  # fmt: skip
    grids = [grid] if arguments.smoke else [SMALL_GRID, WORKING_GRID, LARGE_GRID]
    for title, function in (
        ("preparation, cache and training set", preparation),
        ("evaluation (two scores)", evaluation),
        ("streaming histogram", histograms),
    ):
        results = [in_own_process(function, count, grid, arguments.scratch) for count in scans]
        name = f"Number of scans, {' x '.join(map(str, grid))}: {title}"
        print(table(name, [f"{count:,}" for count in scans], results), flush=True)
    for title, function in (
        ("preparation, cache and training set", preparation),
        ("evaluation (two scores)", evaluation),
        ("the small network", forward),
    ):
        results = [in_own_process(function, few, shape, arguments.scratch) for shape in grids]
        print(table(f"Resolution: {title}", [" x ".join(map(str, shape)) for shape in grids], results), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
