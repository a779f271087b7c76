# SPDX-License-Identifier: Apache-2.0
"""Plant lesions with exact masks into healthy scans: test sets where patients are few.

They are written beside the scans and become names for --test_sets. Never train with them.
"""

import argparse

from ...core.files import require_writable
from ..words import closing, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="data root with the healthy scans; the planted ones are written into it")
    parser.add_argument("--dataset", default="ixi", help="healthy data set (default ixi)")
    parser.add_argument("--split", default="val", help="list of scans to plant into (default val)")
    parser.add_argument("--contrast", default="t1", help="contrast of the scans (default t1)")
    parser.add_argument("--fold", type=int, default=0, help="fold of the list (default 0)")
    parser.add_argument(
        "--copies", type=int, default=1, help="cases that each scan gives, each with a lesion of its own (default 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same lesions (default 0)")


def run(arguments: argparse.Namespace) -> int:
    require_writable(arguments.data)
    from ...cohorts.split_csv import load_split
    from ...synthetic.planted_cohort import write_planted

    records = load_split(arguments.data, arguments.dataset, arguments.split, arguments.contrast, arguments.fold)
    counts = write_planted(records, arguments.data, seed=arguments.seed, copies=arguments.copies)
    closing(
        {f"{name}, {count} cases": f"{arguments.data}/Test/{name}" for name, count in counts.items()},
        {
            "measure a model on them": command_line(
                "uad", "evaluate", "RUN", "--data", arguments.data, "--test_sets", *counts
            )
        },
    )
    return 0
