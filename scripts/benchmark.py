# SPDX-License-Identifier: Apache-2.0
"""Train what is missing, evaluate, and print Table 1: benchmark.py matrices/demo.json --dataset_dir DATA --output_dir OUT."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from custom.benchmark.plan import Places
from custom.benchmark.run import run_matrix
from custom.benchmark.spec import read_spec
from custom.core.errors import UADError
from custom.runs.sync import default_uri


def main() -> int:
    """Read the command line and run the matrix; exit code 1 if a job failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("matrix", help="matrix file, for example matrices/demo.json")
    parser.add_argument("--dataset_dir", required=True, help="folder with splits, Train and Test")
    parser.add_argument("--output_dir", required=True, help="runs, tables, figures and the tracking database go here")
    parser.add_argument("--cache_dir", help="prepared scans (default: DATASET_DIR/.prepared)")
    parser.add_argument("--folds", type=int, nargs="+", help="other folds than the file's")
    parser.add_argument("--workers", type=int, default=1, help="jobs at a time (default 1)")
    parser.add_argument("--scheduler", help="running Dask scheduler, tcp://host:8786")
    parser.add_argument(
        "--slurm", type=json.loads, help='JSON arguments of dask_jobqueue.SLURMCluster, e.g. \'{"queue": "gpu"}\''
    )
    parser.add_argument("--engine", choices=("auto", "sequential", "processes", "dask", "slurm"), default="auto")
    parser.add_argument(
        "--only", choices=("plan", "tables"), help="print what would run, or only make tables and figures"
    )
    parser.add_argument("--force", action="store_true", help="tables may mix results of different protocols")
    parser.add_argument("--any_code", action="store_true", help="keep finished work that only the code changed since")
    parser.add_argument(
        "--tracking_uri", help="MLflow (default: $MLFLOW_TRACKING_URI, else a database in OUTPUT_DIR; none: files only)"
    )
    args = parser.parse_args()
    output = Path(args.output_dir).resolve()
    tracking = args.tracking_uri or default_uri(f"sqlite:///{output / 'mlflow.db'}")
    cache = str(Path(args.cache_dir).resolve()) if args.cache_dir else None
    uri = None if tracking == "none" else tracking
    places = Places(str(Path(args.dataset_dir).resolve()), str(output), cache, uri)
    try:
        spec = read_spec(args.matrix)
        spec = replace(spec, folds=tuple(args.folds)) if args.folds else spec
        failed = run_matrix(
            spec, places, args.engine, args.workers, args.scheduler, args.slurm, args.force, args.any_code, args.only
        )
    except UADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
