# SPDX-License-Identifier: Apache-2.0
"""Calibrate a model on healthy scans of your own scanner.

Ten to fifteen healthy scans are enough. The model stays as it is; a copy gets thresholds and percentiles of these scans.
"""

import argparse
from pathlib import Path

from ...prediction.names import require_there
from ...runs.model_names import model_folder
from ..words import closing, command_line
from .predict import add_preparation_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder of a calibrated model, or the name of one that `uad models` lists")
    parser.add_argument("scans", help="healthy scans (or pictures) of one scanner: a folder or a .txt list")
    parser.add_argument("-o", "--output", required=True, help="folder for the calibrated copy of the model")
    parser.add_argument("--scanner", required=True, help="name of the scanner, for reports")
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="calibrate predictions of 2-D pictures, on pictures of healthy axial slices or on slices of healthy scans",
    )
    add_preparation_arguments(parser)
    parser.add_argument("--mask", help="folder of brain masks named like the scans")


def run(arguments: argparse.Namespace) -> int:
    folder = model_folder(arguments.model)
    require_there(arguments.scans, arguments.mask)
    from ...prediction.recalibration import calibrate, calibrate_pictures
    from ...runs.start import start

    start(seed=0)
    output = Path(arguments.output)
    common = (folder, Path(arguments.scans), output, arguments.scanner, arguments.mask)
    if arguments.pictures:
        odd = calibrate_pictures(*common)
    else:
        odd = calibrate(*common, arguments.extractor, arguments.register)
    if odd:
        print(f"odd among the healthy ones (kept, but they do not move the thresholds): {', '.join(odd)}")
    closing(
        {"model": output}, {"maps with it": command_line("uad", "predict", "SCAN", "-o", "maps", "--model", output)}
    )
    return 0
