# SPDX-License-Identifier: Apache-2.0
"""Train a model on healthy scans.

The same command goes on with a training that was stopped. Every setting of the bundle's train.json is an option, for
example `uad train ddpm_ssim_ens --data DATA --contrast t2 --max_epochs 100`; `uad train BUNDLE --help` lists them.
"""

import argparse
from collections.abc import Sequence

from ...core.files import require_writable
from ...core.resources import bundle_folder, bundle_names
from ..bundle import run_bundle, settings_table
from ..words import closing, command_line

STAGES = ("train", "spark_pretraining")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help=f"{', '.join(bundle_names())}, or the folder of another bundle")
    parser.add_argument("--data", required=True, help="folder with splits, Train and Test")
    parser.add_argument("-o", "--output", help="folder of the model (default: output/METHOD/DATASET_CONTRAST_foldN)")
    parser.add_argument(
        "--stage", choices=STAGES, default="train", help="spark_pretraining: the encoder of cddpm, for --encoder_dir"
    )
    parser.add_argument(
        "--preset", action="append", default=[], help="settings by name, for example small; may be repeated"
    )


def settings_help(words: Sequence[str]) -> str:
    """Return the settings of the bundle that is named in ``words``."""
    named = next((word for word in words if word in bundle_names()), None)
    return (
        settings_table(bundle_folder(named), next((word for word in words if word in STAGES[1:]), "train"))
        if named
        else "`uad train BUNDLE --help` lists the bundle's settings."
    )


def run(arguments: argparse.Namespace) -> int:
    bundle = bundle_folder(arguments.bundle)
    values = {"dataset_dir": arguments.data}
    if arguments.output:
        require_writable(arguments.output)
        values["output_dir"] = arguments.output
    found = run_bundle(bundle, arguments.stage, values, arguments.settings, arguments.preset, ["output_dir"])
    folder = found["output_dir"]
    if arguments.stage != "train":
        following = command_line("uad", "train", bundle.name, "--data", arguments.data, "--encoder_dir", folder)
        closing({"encoder": folder}, {"train a model with it": following})
        return 0
    closing(
        {"model": folder},
        {
            f"get its thresholds from healthy scans in {arguments.data}, and measure it on patients there": command_line(
                "uad", "evaluate", folder, "--data", arguments.data, "--promote"
            )
        },
    )
    return 0
