# SPDX-License-Identifier: Apache-2.0
"""Write the card of a model from its result files: training, thresholds, healthy false positives, what it finds."""

import argparse

from ..words import closing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder of an evaluated and promoted model; card.md is written there")
    parser.add_argument("--run", required=True, help="run folder of its training")
    parser.add_argument(
        "--evaluation", action="append", required=True, help="folder of an evaluation of it; repeatable"
    )
    parser.add_argument("--cohort", action="append", default=[], help="synthetic cohort it was trained on; repeatable")
    parser.add_argument(
        "--people", action="append", default=[], help="list of healthy scans with age and sex (split CSV); repeatable"
    )


def run(arguments: argparse.Namespace) -> int:
    from ...release.card import write_card

    closing(
        {"card": write_card(arguments.model, arguments.run, arguments.evaluation, arguments.cohort, arguments.people)}
    )
    return 0
