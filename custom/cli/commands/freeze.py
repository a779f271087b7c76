# SPDX-License-Identifier: Apache-2.0
"""Make a self-contained release of a trained model, for other machines and for MONAI Label."""

import argparse

from ...core.files import require_writable
from ...runs.model_names import model_folder
from ..words import closing, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of a trained and evaluated model")
    parser.add_argument("-o", "--output", required=True, help="where the release folder (and zip) goes")
    parser.add_argument("--bundle", help="source bundle (default: the one of the model)")
    parser.add_argument("--name", help="name of the release (default: bundle, contrast and fold)")
    parser.add_argument("--zip", action="store_true", help="write a zip too")


def run(arguments: argparse.Namespace) -> int:
    require_writable(arguments.output)
    run = model_folder(arguments.run)
    from ...release.freeze import freeze_bundle, threshold_notes

    folder = freeze_bundle(run, arguments.output, arguments.bundle, arguments.name, arguments.zip)
    written = {"release": folder}
    for note in threshold_notes(folder / "models"):
        print(f"note: {note}")
    if arguments.zip:
        written["zip"] = folder.with_name(f"{folder.name}.zip")
    closing(
        written, {"apply it, from any folder": command_line("uad", "predict", "SCAN", "-o", "OUT", "--model", folder)}
    )
    return 0
