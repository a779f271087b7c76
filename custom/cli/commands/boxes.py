# SPDX-License-Identifier: Apache-2.0
"""Score boxes in 2-D pictures, for example on NOVA, beside boxes that know nothing.

Four published rules stand side by side, because their numbers cannot be compared: see custom/detection. Without --predictions
the table has the trivial boxes and the readers alone.
"""

import argparse
from pathlib import Path

from ...core.files import require_writable
from ..words import closing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("pictures", help="folder of pictures with NOVA's tables, or with boxes.csv")
    parser.add_argument(
        "--predictions",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="boxes of a method as JSON; may be repeated",
    )
    parser.add_argument("--subset", help='only pictures with this word in the caption, for example "T2"')
    parser.add_argument("-o", "--output", type=Path, default=Path("output/boxes"), help="folder of the tables")


def run(arguments: argparse.Namespace) -> int:
    """Read, score, write and print."""
    from ...cohorts.pictures import read_pictures
    from ...cohorts.pictures.nova import count_notes
    from ...core.errors import ConfigError
    from ...evaluation.picture_boxes import box_table, markdown, read_predictions, write_box_table

    require_writable(arguments.output)
    found = read_pictures(arguments.pictures)
    predictions = {}
    for given in arguments.predictions:
        name, _, file = given.partition("=")
        if not name or not file:
            raise ConfigError(f"--predictions takes NAME=FILE, got {given!r}.")
        predictions[name] = read_predictions(file, found)
    chosen = found.subset(arguments.subset)
    if not len(chosen):
        raise ConfigError(
            f"no caption holds {arguments.subset!r}, in this spelling; leave --subset out for all pictures."
        )
    rows = box_table(chosen, predictions, "all" if arguments.subset is None else f"caption with {arguments.subset}")
    files = write_box_table(rows, chosen, predictions, arguments.output)
    print(markdown(rows, found.notes))
    if "NOVA" in found.layout or found.layout.startswith("table"):
        print("\n".join(count_notes(found, arguments.subset)))
    closing({path.name: path for path in files})
    return 0
