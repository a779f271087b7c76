# SPDX-License-Identifier: Apache-2.0
"""Show everything on synthetic scans: cohort, short training on the CPU, evaluation, prediction of one patient.

Every step is an ordinary command of `uad` and is printed before it runs.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from ...core.digests import read_checked_json
from ...core.files import require_writable
from ..words import closing, command_line, runs_in_browser

_TEST_SETS = ("demo_tumour", "demo_stroke", "demo_ms")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default="demo_data", help="folder of the demo cohort (default %(default)s)")
    parser.add_argument(
        "-o", "--output", default="output/demo", help="folder of model and results (default %(default)s)"
    )
    parser.add_argument("--max_epochs", type=int, default=40, help="of the training (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="fewest subjects, one epoch: only to see that it runs")


def run(arguments: argparse.Namespace) -> int:
    from ...runs.sync import default_uri
    from ..main import main

    data, output = Path(arguments.data), Path(arguments.output)
    require_writable(data)
    require_writable(output)
    tracking = default_uri(f"sqlite:///{output.parent / 'mlflow.db'}")
    start = time.monotonic()
    for name, words in _steps(arguments, data, output, ["--tracking_uri", tracking]):
        print(f"\n== {name} ==\n{command_line('uad', *words)}", flush=True)
        if code := main(words):
            return code
    print(f"\nThe demonstration took {(time.monotonic() - start) / 60:.1f} minutes.")
    evaluation = output / "evaluation"
    print(_numbers(evaluation))
    closing(
        {
            "tables": evaluation / "report.md",
            "heat maps and curves": evaluation / "figures",
            "report of one patient": output / "prediction" / "index.html",
        },
        {
            **runs_in_browser(tracking),
            "the same with your own scans": command_line("uad", "predict", "SCAN", "-o", "out", "--model", output),
        },
    )
    return 0


def _steps(
    arguments: argparse.Namespace, data: Path, output: Path, tracked: list[str]
) -> Iterator[tuple[str, list[str]]]:
    """Yield name and words of every command; the patient's scan is looked for once the cohort is there."""
    tiny, epochs, limit = [], ["--max_epochs", str(arguments.max_epochs)], ["--test_limit", "3"]
    if arguments.quick:
        tiny, epochs = ["--tiny"], ["--max_epochs", "1", "--val_slices_per_volume", "1"]
        limit = ["--test_limit", "1", "--sigma_sweep", "false"]
    yield "demo cohort", ["cohort", str(data), *tiny]
    training = ["train", "ddpm_ssim_ens", "--preset", "small", "--data", str(data), "--output", str(output)]
    training += ["--dataset_name", "demo", "--contrast", "t2", "--slices_per_volume", "8"]
    yield "training", [*training, *epochs, *tracked]
    evaluation = ["evaluate", str(output), "--data", str(data), "--test_sets", *_TEST_SETS]
    evaluation += ["--draws", "1", "--precision", "auto"]
    yield "evaluation", [*evaluation, *limit, "--promote", "true", *tracked]
    scan = min((data / "Test" / _TEST_SETS[0] / "t2").glob("*.nii.gz"))
    prediction = ["predict", str(scan), "--output", str(output / "prediction"), "--model", str(output)]
    yield "prediction of one patient", prediction


def _numbers(evaluation: Path) -> str:
    """Return the average precision of the scores on every test set, and how often it is that of an uninformative map.

    SSIM at one width is left out: the figure ``sigma_sweep.png`` shows it.
    """
    from ...benchmark.tables import SWEEP

    lines = [f"\n{'test set':<18}{'score':<26}{'AP, pooled':>10}  of an uninformative map"]
    for dataset, block in read_checked_json(evaluation / "metrics.json", "evaluate again.")["datasets"].items():
        for score, found in block["variants"].items():
            precision, times = (found["pooled"].get(name) for name in ("average_precision", "over_uninformative"))
            if precision is not None and times is not None and not SWEEP.fullmatch(score):
                lines.append(f"{dataset:<18}{score:<26}{precision:>10.1%}  {times:.1f}x")
    return "\n".join(lines)
