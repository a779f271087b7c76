# SPDX-License-Identifier: Apache-2.0
"""Score boxes in 2-D pictures, for example on NOVA, beside boxes that know nothing.

Four published rules stand side by side, because their numbers cannot be compared: see custom/detection. Without --model and
--predictions the table has the trivial boxes and the readers alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import ConfigError
from ...core.files import require_writable
from ..words import closing

if TYPE_CHECKING:
    from ...cohorts.pictures import PictureSet
    from ...detection import Boxes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", help="folder of pictures with NOVA's tables, or with boxes.csv")
    parser.add_argument(
        "--predictions",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="boxes of a method as JSON; may be repeated",
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="model whose boxes are predicted and scored: folder of a run, or the name of one that `uad models` lists",
    )
    parser.add_argument(
        "--matrix", help="file that names models, subsets and rules of boxes, for example matrices/nova.json"
    )
    parser.add_argument("--subset", help='only pictures with this word in the caption, for example "T2"')
    parser.add_argument("-o", "--output", type=Path, default=Path("output/boxes"), help="folder of the tables")


def run(arguments: argparse.Namespace) -> int:
    from ...cohorts.pictures import read_pictures
    from ...evaluation.picture_boxes import read_predictions
    from ...prediction.picture_matrix import PictureMatrix, predicted_boxes

    require_writable(arguments.output)
    found = read_pictures(arguments.pictures)
    matrix = PictureMatrix.read(arguments.matrix) if arguments.matrix else PictureMatrix(subsets=(arguments.subset,))
    if arguments.matrix and arguments.subset is not None:
        matrix = replace(matrix, subsets=(arguments.subset,))
    matrix = matrix.with_models(dict(_named(given, "--model") for given in arguments.model))
    predictions = {}
    for given in arguments.predictions:
        name, file = _named(given, "--predictions")
        predictions[name] = read_predictions(file, found)
    for subset in matrix.subsets:
        if not len(found.subset(subset)):
            raise ConfigError(f"no caption holds {subset!r}, in this spelling; leave --subset out for all pictures.")
    if not any(len(boxes) for boxes in found.gold.values()):
        raise ConfigError(
            f"{arguments.pictures} has no boxes of readers ({found.layout}), so nothing can be scored; add boxes.csv with filename, x, "
            "y, width and height, or take `uad predict` for maps and boxes alone."
        )
    predictions |= predicted_boxes(matrix, found, arguments.output)
    files: dict[str, Path] = {}
    for subset in matrix.subsets:
        files |= _scored(found, predictions, subset, arguments.output, single=len(matrix.subsets) == 1)
    closing(files)
    return 0


def _scored(
    found: PictureSet, predictions: Mapping[str, Mapping[str, Boxes]], subset: str | None, output: Path, single: bool
) -> dict[str, Path]:
    """Score, write and print one subset."""
    from ...cohorts.pictures.nova import count_notes
    from ...evaluation.picture_boxes import box_table, markdown, write_box_table

    chosen = found.subset(subset)
    rows = box_table(chosen, predictions, "all" if subset is None else f"caption with {subset}")
    folder = output if single else output / (subset or "all")
    files = write_box_table(rows, chosen, predictions, folder)
    print(markdown(rows, found.notes))
    if "NOVA" in found.layout or found.layout.startswith("table"):
        print("\n".join(count_notes(found, subset)))
    return {path.name if single else f"{subset or 'all'}: {path.name}": path for path in files}


def _named(given: str, option: str) -> tuple[str, str]:
    name, _, value = given.partition("=")
    if not name or not value:
        raise ConfigError(f"{option} takes NAME=VALUE, got {given!r}.")
    return name, value
