# SPDX-License-Identifier: Apache-2.0
"""One table of several evaluations: ``python -m benchmarks.evaluations NAME TITLE METHOD/SCORE=FOLDER ...``.

Every FOLDER holds the ``metrics.json`` of an evaluation; the table goes to ``docs/results/NAME.json``, from where
``python -m benchmarks.documents`` puts it into the documents.
"""

import argparse
from pathlib import Path

from custom.benchmark.rendering import write_json
from custom.benchmark.tables import Table
from custom.core.files import read_json

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"


def table(title: str, evaluations: list[tuple[str, str, Path]], points: list[str]) -> Table:
    """Return the table of (method, score, folder), with the Dice at the thresholds called ``points``."""
    read = [
        (method, score, read_json(folder / "metrics.json", "evaluate again.")) for method, score, folder in evaluations
    ]
    columns = ("AP, pooled", "x uninformative", *(f"Dice, {name}" for name in points), "best Dice")
    rows = []
    datasets = list(dict.fromkeys(name for _, _, metrics in read for name in metrics["datasets"]))
    for dataset in datasets:
        for method, score, metrics in read:
            block = metrics["datasets"].get(dataset)
            if block is None:
                continue
            found = block["variants"][score]
            precision = found["pooled"]["average_precision"]
            nothing = block["variants"].get("uninformative", {}).get("pooled", {}).get("average_precision")
            dice = [
                found["operating_points"].get(name, {}).get("per_case", {}).get("dice", {}).get("mean")
                for name in (*points, "oracle")
            ]
            cells = (
                _percent(precision),
                f"{precision / nothing:.1f}" if precision and nothing else "-",
                *map(_percent, dice),
            )
            rows.append(((f"{dataset} ({block['cases']})", method, score), cells))
    return Table(title, ("data set (scans)", "method", "score"), columns, tuple(rows), (), 1.0)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("title")
    parser.add_argument("evaluations", nargs="+")
    parser.add_argument("--points", nargs="+", default=["healthy_fpr_0.001"], help="thresholds to show")
    arguments = parser.parse_args()
    parts = [(*text.partition("=")[0].split("/"), Path(text.partition("=")[2])) for text in arguments.evaluations]
    shown = " ".join(text.partition("=")[0] + "=FOLDER" for text in arguments.evaluations)
    command = f"python -m benchmarks.evaluations {arguments.name} '{arguments.title}' {shown}"
    write_json(
        table(arguments.title, [(m, s, f) for m, s, f in parts], arguments.points),
        RESULTS / f"{arguments.name}.json",
        command,
    )


if __name__ == "__main__":
    main()
