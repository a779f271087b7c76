# SPDX-License-Identifier: Apache-2.0
"""CPU seconds of every step from a raw head to its anomaly map, and what a released model marks in it.

::

    python benchmarks/raw_scans.py SCAN --model restoration_t2 --extractor deepbet

Prints JSON. The numbers of docs/raw_scans.md are from the three raw scans of Lesjak et al. (2016), one thread.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path

import torch

from custom.prediction.predictor import Predictor
from custom.prediction.released import released_model
from custom.preparation.quality import compare
from custom.preparation.raw_scans import for_raw_scans
from custom.preparation.subject import Subject
from custom.runs.model_folder import ModelFolder
from custom.volumes.read import read_scan


def main() -> None:
    """Measure one scan."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--model", required=True, help="name of a released model, or a folder")
    parser.add_argument("--extractor", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    named = released_model(arguments.model)
    folder = named.folder if named else Path(arguments.model)
    read = read_scan(arguments.scan, "scan")
    subject = Subject("scan", read.array, read.affine)
    seconds = {}
    for step in for_raw_scans(ModelFolder.read(folder).build("preparation"), arguments.extractor).steps:
        before = time.process_time()
        subject = step(subject)
        seconds[type(step).__name__] = round(time.process_time() - before, 1)
    predictor = Predictor.load(folder, extractor=arguments.extractor)
    before = time.process_time()
    result = predictor.predict(arguments.scan)
    seconds["whole prediction"] = round(time.process_time() - before, 1)
    reference = predictor.calibration.reference
    print(
        json.dumps(
            {
                "cpu_seconds": seconds,
                "marked_ml": result.summary()["AnomalyVolumeMl"],
                "residual": round(result.reconstruction_error, 5),
                "likeness": compare(result.grid["image"], result.grid["brain"], reference) if reference else None,
                "record": dict(result.record),
                "memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
                "load": os.getloadavg(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
