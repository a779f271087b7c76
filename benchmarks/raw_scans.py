# SPDX-License-Identifier: Apache-2.0
"""CPU seconds of every step from a raw head to its report, and what the released models mark in it.

::

    python -m benchmarks.raw_scans docs/results T1=T1.nii.gz T2=T2.nii.gz FLAIR=FLAIR.nii.gz --extractors atlas deepbet hd_bet

writes ``raw_scans_seconds.json`` and ``raw_scans_marked.json``, the tables of docs/raw_scans.md. Every scan and extractor is
measured in a process of its own with one thread, so that times hold the imports and the memory is that of one scan. Then
`uad predict` runs as a user would, with all cores: its wall time is that of a machine without other work only if there is none.
"""

import argparse
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from custom.benchmark.cells import Table
from custom.benchmark.rendering import write_json
from custom.prediction.predictor import Predictor
from custom.prediction.released import released_model
from custom.preparation.quality import compare
from custom.preparation.raw_scans import for_raw_scans
from custom.preparation.subject import Subject
from custom.runs.model_folder import ModelFolder
from custom.volumes.read import read_scan

COMMAND = "python -m benchmarks.raw_scans FOLDER NAME=SCAN ... --extractors NAME ..."
STEPS = {"extraction": "ExtractBrain", "bias field": "CorrectBias", "registration": "RegisterToTemplate"}


def measure(contrast: str, path: Path, extractor: str) -> dict[str, Any]:
    """Return CPU seconds of the steps and of the whole, memory, and what was marked."""
    torch.set_num_threads(1)
    model = released_model(f"restoration_{contrast}")
    assert model is not None, f"no released model for {contrast}"
    read = read_scan(path, "scan")
    subject, seconds = Subject("scan", read.array, read.affine), {}
    for step in for_raw_scans(ModelFolder.read(model.folder).build("preparation"), extractor).steps:
        before = time.process_time()
        subject = step(subject)
        seconds[type(step).__name__] = time.process_time() - before
    found: dict[str, Any] = {name: seconds[step] for name, step in STEPS.items()}
    found["overlap"] = subject.record["registration"]["mask_overlap"]
    predictor, before = Predictor.load(model.folder, extractor=extractor), time.process_time()
    result = predictor.predict(path)
    with tempfile.TemporaryDirectory() as folder:
        result.save(folder)
    reference = predictor.calibration.reference
    assert reference is not None
    found["scan to report"] = time.process_time() - before
    found["distance"] = compare(result.grid["image"], result.grid["brain"], reference)["distance"]
    found["marked_ml"] = result.summary()["AnomalyVolumeMl"]
    return found | {"memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def wall_seconds(contrast: str, path: Path, extractor: str) -> float:
    """Return the time of ``uad predict``, start and imports included."""
    with tempfile.TemporaryDirectory() as folder:
        own = [sys.executable, "-m", "custom.cli.main"]
        command = [*own, "predict", str(path), "-o", folder, "--contrast", contrast, "--extractor", extractor]
        before = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - before


def seconds_table(measured: Sequence[tuple[tuple[str, str], dict[str, Any]]]) -> Table:
    """Return times and memory."""
    names = (*STEPS, "scan to report", "memory, GiB", "whole command, wall")
    rows = tuple((head, tuple(f"{found[name]:.1f}" for name in names)) for head, found in measured)
    notes = (
        "One thread, a process for each row; a step's time holds the imports that it is the first to need. Scan to report: reading, "
        "all steps, model, maps, and the page, in the same process after the steps. Whole command: `uad predict` with "
        f"{os.cpu_count()} cores, start included.",
    )
    return Table("CPU seconds of a raw scan", ("scan", "extractor"), names, rows, notes)


def marked_table(measured: Sequence[tuple[tuple[str, str], dict[str, Any]]]) -> Table:
    """Return how the scan lies, how like healthy scans it is, and what is marked."""
    rows = tuple(
        (head, (f"{found['overlap']:.3f}", f"{found['distance']:.3f}", f"{found['marked_ml']:.1f}"))
        for head, found in measured
    )
    columns = ("overlap with the average brain", "distance to the healthy histogram", "marked, ml")
    return Table("Raw scans through the released models of their contrast", ("scan", "extractor"), columns, rows)


def main() -> None:
    """Measure all and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("scans", nargs="+", metavar="NAME=SCAN", help="contrast and file")
    parser.add_argument("--extractors", nargs="+", default=["atlas"])
    arguments = parser.parse_args()
    measured: list[tuple[tuple[str, str], dict[str, Any]]] = []
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as pool:
        for extractor in arguments.extractors:
            for name, _, path in (scan.partition("=") for scan in arguments.scans):
                found = pool.submit(measure, name.lower(), Path(path), extractor).result()
                found["whole command, wall"] = wall_seconds(name.lower(), Path(path), extractor)
                measured.append(((name, extractor), found))
                print(name, extractor, found, flush=True)
                for table, stem in ((seconds_table, "raw_scans_seconds"), (marked_table, "raw_scans_marked")):
                    write_json(table(measured), arguments.folder / f"{stem}.json", COMMAND)


if __name__ == "__main__":
    main()
