# SPDX-License-Identifier: Apache-2.0
"""Make a small copy of a trained model: what defines it, and its weights in half precision.

Evaluate the copy and promote that evaluation; `uad card` then writes its card.
"""

import argparse

from ...core.files import require_writable
from ...runs.model_names import model_folder
from ..words import closing, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder of a finished training")
    parser.add_argument("output", help="folder to make")


def run(arguments: argparse.Namespace) -> int:
    require_writable(arguments.output)
    model = model_folder(arguments.model)
    from ...release.pack import pack

    packed = pack(model, arguments.output)
    size = packed.weights.stat().st_size / 1e6
    closing(
        {f"model, {size:.1f} MB": packed.folder},
        {
            "measure the copy and get its thresholds": command_line(
                "uad", "evaluate", packed.folder, "--data", "DATA", "--promote"
            )
        },
    )
    return 0
