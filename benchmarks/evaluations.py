# SPDX-License-Identifier: Apache-2.0
"""One table of several evaluations: ``python -m benchmarks.evaluations NAME TITLE METHOD/SCORE=FOLDER ...``.

Every FOLDER holds the ``metrics.json`` of an evaluation; the table goes to ``docs/results/NAME.json``, from where
``python -m benchmarks.documents`` puts it into the documents.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from custom.benchmark.cells import Table
from custom.benchmark.rendering import write_json
from custom.core.files import read_json

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"


def table(title: str, evaluations: list[tuple[str, str, Path]], points: list[str]) -> Table:
    """Return the table of (method, score, folder): the patients, then the healthy scans.

    Args:
        title: of the table.
        evaluations: method, score, and folder of the evaluation.
        points: names of the thresholds whose Dice and falsely marked volume are shown.
    """
    read = [
        (method, score, read_json(folder / "metrics.json", "evaluate again.")) for method, score, folder in evaluations
    ]
    shown = [column for name in points for column in (f"Dice, {name}", f"false ml, {name}")]
    columns = ("AP, pooled", "x uninformative", "AP, mean of scans", *shown, "best Dice")
    rows = []
    for kind, cells_of in (("datasets", _patients), ("healthy", _healthy)):
        for group in dict.fromkeys(name for _, _, metrics in read for name in metrics[kind]):
            for method, score, metrics in read:
                block = metrics[kind].get(group)
                if block is not None:
                    rows.append(((f"{group} ({block['cases']})", method, score), cells_of(block, score, points)))
    return Table(title, ("data set (scans)", "method", "score"), columns, tuple(rows), (), 1.0)


def _patients(block: Mapping[str, Any], score: str, points: list[str]) -> tuple[str, ...]:
    found = block["variants"][score]
    precision = found["pooled"]["average_precision"]
    nothing = block["variants"].get("uninformative", {}).get("pooled", {}).get("average_precision")
    cells = [_percent(precision), f"{precision / nothing:.1f}" if precision and nothing else "-"]
    cells.append(_with_interval(found["per_case"].get("average_precision", {})))
    measured = found["operating_points"]
    for name in points:
        per_case = measured.get(name, {}).get("per_case", {})
        false_ml = per_case.get("fp_ml", {}).get("mean")
        cells += [_percent(per_case.get("dice", {}).get("mean")), "-" if false_ml is None else f"{false_ml:.1f}"]
    return (*cells, _percent(measured.get("oracle", {}).get("per_case", {}).get("dice", {}).get("mean")))


def _healthy(block: Mapping[str, Any], score: str, points: list[str]) -> tuple[str, ...]:
    cells = ["-"] * 3
    for name in points:
        found = block["variants"][score].get(name, {}).get("false_positives")
        mean_and_median = [found[f"false_positive_ml_{part}"] for part in ("mean", "median")] if found else []
        cells += ["-", "{:.1f} (median {:.1f})".format(*mean_and_median) if found else "-"]
    return (*cells, "-")


def _with_interval(summary: Mapping[str, Any]) -> str:
    if summary.get("ci_low") is None:
        return _percent(summary.get("mean"))
    return f"{_percent(summary['mean'])} [{_percent(summary['ci_low'])}, {_percent(summary['ci_high'])}]"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("title")
    parser.add_argument("evaluations", nargs="+")
    parser.add_argument("--points", nargs="+", default=["typical_fpr_0.001"], help="thresholds to show")
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
