# SPDX-License-Identifier: Apache-2.0
"""Calibrate a model on healthy scans of your own scanner.

Ten to fifteen healthy scans are enough. The model stays as it is; a copy gets thresholds and percentiles of these scans.
"""

import argparse

from ..words import closing, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", help="folder of a calibrated model")
    parser.add_argument("scans", help="healthy scans of one scanner: a folder or a .txt list")
    parser.add_argument("-o", "--output", required=True, help="folder for the calibrated copy of the model")
    parser.add_argument("--scanner", required=True, help="name of the scanner, for reports")
    parser.add_argument("--mask", help="folder of brain masks named like the scans")


def run(arguments: argparse.Namespace) -> int:
    """Calibrate."""
    from pathlib import Path

    from ...prediction.recalibration import calibrate
    from ...runs.start import start

    start(seed=0)
    output = Path(arguments.output)
    odd = calibrate(
        Path(arguments.model),
        Path(arguments.scans),
        output,
        arguments.scanner,
        arguments.mask,
    )
    if odd:
        print(f"odd among the healthy scans (kept, but they do not move the thresholds): {', '.join(odd)}")
    closing(
        {"model": output}, {"maps with it": command_line("uad", "predict", "SCAN", "-o", "maps", "--model", output)}
    )
    return 0
