# SPDX-License-Identifier: Apache-2.0
"""Put finished evaluations into one table, with intervals and tests, from folders or from MLflow."""

import argparse
from pathlib import Path

from ...core.errors import ConfigError
from ...core.files import require_writable
from ..words import closing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="*", help="folders of runs or evaluations (searched below); NAME=FOLDER names the row"
    )
    parser.add_argument("--tracking_uri", help="read from MLflow: http://host:port or sqlite:///file.db")
    parser.add_argument("--experiments", nargs="*", default=(), help="MLflow experiments (default: all)")
    parser.add_argument("--parent", help="only MLflow runs below this run id")
    parser.add_argument("--scores", nargs="*", help="scores shown (default: all, without sweeps over sigma)")
    parser.add_argument(
        "--metric", default="dice", help="column of per_case.csv, or pooled_average_precision (default dice)"
    )
    parser.add_argument(
        "--point", help="threshold: healthy_fpr_0.05, oracle, ... (default: tuned, else the first that most rows have)"
    )
    parser.add_argument(
        "--pairs", nargs="*", default=(), metavar="'A SCORE:B SCORE'", help="rows to test against each other"
    )
    parser.add_argument("--format", choices=("csv", "latex", "markdown"), default="markdown")
    parser.add_argument("-o", "--output", type=Path, help="write NAME.md, NAME.csv and NAME.tex too")
    parser.add_argument("--force", action="store_true", help="show results of different protocols in one table")


def run(arguments: argparse.Namespace) -> int:
    from ...benchmark.rendering import csv_text, latex, markdown, write_table
    from ...benchmark.results import find_results, results_from_mlflow
    from ...benchmark.tables import Comparison, operating_point
    from ...benchmark.views import healthy_table

    if bool(arguments.runs) == bool(arguments.tracking_uri):
        raise ConfigError("give folders of evaluations, or --tracking_uri.")
    if arguments.output:
        require_writable(arguments.output.parent)
    if arguments.tracking_uri:
        results = results_from_mlflow(arguments.tracking_uri, arguments.experiments, arguments.parent)
    else:
        results = find_results(arguments.runs)
    shown = None
    if arguments.scores:
        shown = {
            r.method: [s for s in arguments.scores if any(s in b["variants"] for b in r.metrics["datasets"].values())]
            for r in results
        }
    comparison = Comparison(results, shown, operating_point(results, arguments.point), arguments.force)
    pairs = [tuple(pair.split(":", 1)) for pair in arguments.pairs]
    table, tests = comparison.main(arguments.metric), comparison.comparisons(pairs, arguments.metric)
    render = {"markdown": markdown, "csv": csv_text, "latex": latex}[arguments.format]
    print(render(table))
    print(render(healthy_table(comparison)))
    if tests.rows:
        print(render(tests))
    if arguments.output:
        write_table(table, arguments.output)
        closing({"table": f"{arguments.output}.md, .csv, .tex and .json"})
    return 0
