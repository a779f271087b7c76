# SPDX-License-Identifier: Apache-2.0
"""Make anomaly maps and reports of scans, or of pictures of axial slices.

Exit code 4: a scan gave no result; the others are done.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import ConfigError
from ...core.files import require_writable
from ...prediction.names import require_there
from ...runs.model_names import model_folder
from ..main import in_own_process
from ..words import closing

if TYPE_CHECKING:
    from ...prediction.released import Choice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", help="scan (NIfTI, NRRD, MHA, DICOM folder), picture (PNG, JPEG, TIFF), folder of either, or .txt list"
    )
    parser.add_argument("-o", "--output", required=True, help="folder for the results; finished scans there are kept")
    parser.add_argument(
        "--model",
        help="folder of a trained and evaluated model, or the name of one that `uad models` lists; without it, the listed "
        "one for the contrast of the scans is taken, and named",
    )
    parser.add_argument("--mask", help="brain mask of the scan or picture, or a folder of masks named like them")
    parser.add_argument(
        "--sensitivity", help="name of a calibrated threshold, or wanted healthy false-positive rate (0.01)"
    )
    parser.add_argument("--threshold", type=float, help="anomaly score that decides instead")
    parser.add_argument("--contrast", help="contrast of the scans, t1, t2, ...; warns if it is not the model's")
    parser.add_argument("--scanner", help="scanner of the scans; warns if the model was not calibrated for it")
    parser.add_argument("--format", default="nifti", choices=["nifti", "source", "dicom"], help="write this format too")
    parser.add_argument("--no_report", action="store_true", help="no HTML pages")
    parser.add_argument("--viewer", default="niivue", choices=["niivue", "none"], help="interactive part of the pages")
    parser.add_argument(
        "--view", default="neurological", choices=["neurological", "radiological"], help="side of the patient's left"
    )
    add_preparation_arguments(parser)
    parser.add_argument(
        "--time_limit",
        type=float,
        default=60.0,
        metavar="MINUTES",
        help="for reading and preparing one scan of several (default 60)",
    )
    parser.add_argument("--debug", action="store_true", help="stop at the first error and show it in full")


def add_preparation_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how scans with their skull are prepared."""
    parser.add_argument(
        "--extractor",
        default="auto",
        choices=["auto", "hd_bet", "deepbet", "atlas", "none"],
        help="how the brain of a scan with its skull is found; auto takes the first that is installed",
    )
    parser.add_argument(
        "--register",
        default="auto",
        choices=["auto", "always", "never"],
        help="registration to the space of the training scans; auto: scans with their skull",
    )


def named(choice: "Choice") -> Path:
    """Name a chosen model and say why it was chosen; return its folder."""
    print(f"model: {choice.model.folder.name}, {choice.reason}")
    return choice.model.folder


def run(arguments: argparse.Namespace) -> int:
    from ...prediction.watch import watched

    require_writable(Path(arguments.output))
    if not 0 < arguments.time_limit < float("inf"):
        raise ConfigError(f"--time_limit takes minutes, a number above 0, got {arguments.time_limit:g}.")
    given = Path(arguments.input)
    require_there(given, arguments.mask)
    if arguments.model is not None:
        arguments.model = str(model_folder(arguments.model))
    if arguments.debug or not (given.is_dir() or given.suffix.lower() == ".txt"):
        return _predict(arguments)
    return watched(partial(in_own_process, _predict), arguments, arguments.time_limit)


def _predict(arguments: argparse.Namespace) -> int:
    output = Path(arguments.output)
    if arguments.debug:
        os.environ["UAD_DEBUG"] = "1"
    from ...prediction.find import find_pictures, find_scans
    from ...prediction.predictor import predict_batch
    from ...prediction.released import choose_model
    from ...preparation.grid_dictionary import prepared_once
    from ...runs.start import start

    # the noise of a scan has seeds of its own; deterministic algorithms as in `monai.bundle run inference`
    start(seed=0)
    pictures = find_pictures(Path(arguments.input))
    if pictures is not None:
        return _predict_pictures(arguments, pictures, output)
    with prepared_once():  # recognition and prediction share the preparation
        if arguments.model is None:
            sources = find_scans(Path(arguments.input), arguments.mask)
            folder = named(choose_model(sources, arguments.contrast, arguments.extractor, arguments.register))
        else:
            folder = Path(arguments.model)
        records = predict_batch(
            folder,
            Path(arguments.input),
            output,
            mask=str(Path(arguments.mask)) if arguments.mask else None,
            sensitivity=arguments.sensitivity,
            threshold=arguments.threshold,
            contrast=arguments.contrast,
            scanner=arguments.scanner,
            output_format=arguments.format,
            report=not arguments.no_report,
            viewer=arguments.viewer,
            view=arguments.view,
            extractor=arguments.extractor,
            register=arguments.register,
            debug=arguments.debug,
        )
    written: dict[str, str | Path] = {"maps and findings": output, "summary": output / "summary.json"}
    if not arguments.no_report and (output / "index.html").is_file():
        written["report"] = output / "index.html"
    closing(written)
    return 4 if any(record["status"] == "failed" for record in records) else 0


def _predict_pictures(arguments: argparse.Namespace, pictures: Sequence[Path], output: Path) -> int:
    from ...prediction.picture_batch import picture_table, predict_pictures
    from ...prediction.predictor import Predictor
    from ...prediction.released import choose_picture_model

    if arguments.model is None:
        folder = named(choose_picture_model(pictures, arguments.contrast))
    else:
        folder = Path(arguments.model)
    predictor = Predictor.load(folder, sensitivity=arguments.sensitivity, threshold=arguments.threshold)
    mask = Path(arguments.mask) if arguments.mask else None
    records = predict_pictures(predictor, pictures, output, mask, report=not arguments.no_report)
    print(picture_table(records))
    written: dict[str, str | Path] = {"overlays, maps and boxes": output, "boxes of all": output / "boxes.json"}
    if not arguments.no_report:
        written["report"] = output / "index.html"
    closing(written)
    return 4 if any(record["status"] == "failed" for record in records) else 0
