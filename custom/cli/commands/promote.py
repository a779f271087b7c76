# SPDX-License-Identifier: Apache-2.0
"""Make the thresholds of a finished evaluation those that predictions with the model use.

A trial (`--limit`, or no healthy scans) is refused, and so is an evaluation of other weights.
"""

import argparse
from pathlib import Path

from ..words import closing, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of a trained model")
    parser.add_argument("evaluation", nargs="?", help="folder of its evaluation (default: RUN/evaluation)")


def run(arguments: argparse.Namespace) -> int:
    from ...evaluation.calibrate import promote

    model = promote(arguments.run, arguments.evaluation or Path(arguments.run) / "evaluation")
    assert model is not None
    thresholds = (model.calibration or {}).get("thresholds", {})
    for name, entry in thresholds.items():
        print(f"{name}: {entry['value']:.4g} ({entry['source']})")
    closing(
        {"thresholds": Path(arguments.run) / "model.json"},
        {
            "anomaly maps of scans of your own": command_line(
                "uad", "predict", "SCAN", "-o", "out", "--model", arguments.run
            ),
            "a release for other machines": command_line("uad", "freeze", arguments.run, "-o", "release", "--zip"),
        },
    )
    return 0
