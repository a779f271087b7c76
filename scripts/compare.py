# SPDX-License-Identifier: Apache-2.0
"""Put finished runs into one table: compare.py RUNS [NAME=RUN ...] or compare.py --tracking_uri sqlite:///output/mlflow.db."""

import argparse
import sys
from pathlib import Path

from custom.benchmark.rendering import csv_text, latex, markdown, write_table
from custom.benchmark.results import find_results, results_from_mlflow
from custom.benchmark.tables import Comparison
from custom.core.errors import UADError

FORMATS = {"markdown": markdown, "csv": csv_text, "latex": latex}


def main() -> int:
    """Read results from folders or MLflow and print the table and the tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "runs", nargs="*", help="folders of runs or evaluations (searched below); NAME=FOLDER names the row"
    )
    parser.add_argument("--tracking_uri", help="read from MLflow: http://host:port or sqlite:///file.db")
    parser.add_argument("--experiments", nargs="*", default=(), help="MLflow experiments (default: all)")
    parser.add_argument("--parent", help="only MLflow runs below this run id")
    parser.add_argument("--scores", nargs="*", help="scores shown (default: all, without sweeps over sigma)")
    parser.add_argument("--metric", default="dice", help="column of per_case.csv (default dice)")
    parser.add_argument("--point", default="tuned", help="threshold: tuned, interval_search, healthy_fpr_0.05, oracle")
    parser.add_argument(
        "--pairs", nargs="*", default=(), metavar="'A SCORE:B SCORE'", help="rows to test against each other"
    )
    parser.add_argument("--format", choices=sorted(FORMATS), default="markdown")
    parser.add_argument("--output", type=Path, help="write NAME.md, NAME.csv and NAME.tex too")
    parser.add_argument("--seed", type=int, default=0, help="of bootstrap and permutations")
    parser.add_argument("--force", action="store_true", help="show results of different protocols in one table")
    args = parser.parse_args()
    if bool(args.runs) == bool(args.tracking_uri):
        parser.error("give folders, or --tracking_uri")
    try:
        if args.tracking_uri:
            results = results_from_mlflow(args.tracking_uri, args.experiments, args.parent)
        else:
            results = find_results(args.runs)
        shown = None
        if args.scores:
            shown = {
                r.method: [s for s in args.scores if any(s in b["variants"] for b in r.metrics["datasets"].values())]
                for r in results
            }
        comparison = Comparison(results, shown, args.point, args.seed, args.force)
        pairs = [tuple(pair.split(":", 1)) for pair in args.pairs]
        table, tests = comparison.main(args.metric), comparison.comparisons(pairs, args.metric)
    except UADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    render = FORMATS[args.format]
    print(render(table))
    if tests.rows:
        print(render(tests))
    if args.output:
        write_table(table, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
