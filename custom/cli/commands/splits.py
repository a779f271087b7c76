# SPDX-License-Identifier: Apache-2.0
"""Make the split lists of a data set: test list and folds for healthy scans, validation and test for patients."""

import argparse
from pathlib import Path

from ...core.errors import ConfigError
from ...core.files import require_writable
from ..words import closing, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data_root", metavar="DATA", nargs="?", help="folder with Train and Test; splits/ is made in it"
    )
    parser.add_argument("--data_root", dest="data_root_option", help=argparse.SUPPRESS)
    parser.add_argument("--dataset", required=True, help="ixi, brats21, mslub, atlas_v2, wmh, demo, ...")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another division (default 0)")
    parser.add_argument("--folds", type=int, default=5, help="number of folds of healthy data sets (default 5)")
    parser.add_argument("--test_fraction", type=float, default=0.28, help="healthy test share (default 0.28)")
    parser.add_argument(
        "--val_fraction", type=float, help="validation share (default 0.11 healthy, one third patients)"
    )
    parser.add_argument("--ages", help="CSV file with columns subject and age")
    parser.add_argument("--force", action="store_true", help="replace existing lists")


def run(arguments: argparse.Namespace) -> int:
    from ...cohorts.folds import make_splits, read_ages

    root = arguments.data_root or arguments.data_root_option
    if not root:
        raise ConfigError("the folder with Train and Test is missing; give it: uad splits DATA --dataset NAME.")
    if Path(root).is_dir():
        require_writable(Path(root) / "splits", "the lists must lie in the data folder.")
    files = make_splits(
        root,
        arguments.dataset,
        arguments.seed,
        arguments.folds,
        arguments.test_fraction,
        arguments.val_fraction,
        read_ages(arguments.ages) if arguments.ages else None,
        arguments.force,
    )
    closing(
        {file.name: file for file in files}, {"look for faults in lists and scans": command_line("uad", "check", root)}
    )
    return 0
