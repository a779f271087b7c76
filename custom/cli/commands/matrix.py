# SPDX-License-Identifier: Apache-2.0
"""Train what is missing, evaluate, and print one table of methods, contrasts, folds and scores.

The same command goes on with a matrix that was stopped. Exit code 1: a job failed.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from ...core.files import require_writable
from ..words import closing, runs_in_browser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("matrix", help="name of a matrix of the package, for example demo, or a matrix file")
    parser.add_argument(
        "--data", "--dataset_dir", dest="data", required=True, help="folder with splits, Train and Test"
    )
    parser.add_argument(
        "-o", "--output", "--output_dir", dest="output", required=True,
        help="runs, tables, figures and the tracking database go here",
    )  # fmt: skip
    parser.add_argument("--cache_dir", help="prepared scans (default: DATA/.prepared)")
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
        "--tracking_uri", help="MLflow (default: $MLFLOW_TRACKING_URI, else a database in OUTPUT; none: files only)"
    )


def run(arguments: argparse.Namespace) -> int:
    output = Path(arguments.output).resolve()
    if arguments.only != "plan":
        require_writable(output)
    from ...benchmark.plan import Places
    from ...benchmark.run import run_matrix
    from ...benchmark.spec import read_spec
    from ...runs.sync import default_uri

    tracking = arguments.tracking_uri or default_uri(f"sqlite:///{output / 'mlflow.db'}")
    cache = str(Path(arguments.cache_dir).resolve()) if arguments.cache_dir else None
    data = Path(arguments.data).resolve()
    places = Places(str(data), str(output), cache, None if tracking == "none" else tracking)
    spec = read_spec(arguments.matrix)
    spec = replace(spec, folds=tuple(arguments.folds)) if arguments.folds else spec
    failed = run_matrix(
        spec, places, arguments.engine, arguments.workers, arguments.scheduler, arguments.slurm, arguments.force,
        arguments.any_code, arguments.only,
    )  # fmt: skip
    if arguments.only != "plan":
        following = {} if tracking == "none" else runs_in_browser(tracking)
        closing({"tables": output / "tables", "figures": output / "figures", "runs": output / "runs"}, following)
    return 1 if failed else 0
