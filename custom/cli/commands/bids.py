# SPDX-License-Identifier: Apache-2.0
"""Make anomaly maps of a BIDS data set, then tables and a page of the whole group.

Called as BIDS apps are. ``participant`` predicts the anatomical scans of one contrast, all sessions and runs, heads and
extracted brains alike; scans that are finished are kept. ``group`` writes group.tsv (a row per scan), findings.tsv (a row
per finding), their dictionaries, and a page that can be sorted; age, sex, site and group come from participants.tsv.

Exit code 4: a scan gave no result; the others are done.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from ...core.errors import ConfigError, DataError
from ...core.files import require_writable
from ...runs.model_names import model_folder
from ..main import in_own_process
from ..words import closing, command_line
from .predict import add_preparation_arguments, named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bids_dir", help="root of the BIDS data set")
    parser.add_argument("output_dir", help="folder for the results")
    parser.add_argument(
        "level", choices=["participant", "group"], help="predict scans, or summarise what was predicted"
    )
    for name in ("participant", "session", "run"):
        parser.add_argument(f"--{name}_label", nargs="+", metavar="LABEL", help=f"only these {name}s")
    parser.add_argument("--contrast", help="t1, t2, flair, ...; without it that of --model, or the only one there")
    parser.add_argument("--model", help="folder of a model, or the name of one that `uad models` lists")
    parser.add_argument("--sensitivity", help="name of a calibrated threshold, or a healthy false-positive rate (0.01)")
    parser.add_argument("--scanner", help="scanner of the scans, where their JSON files do not say it")
    add_preparation_arguments(parser)
    parser.add_argument("--viewer", default="niivue", choices=["niivue", "none"], help="interactive part of the pages")
    parser.add_argument("--workers", type=int, default=0, help="processes that read and prepare scans ahead")


def run(arguments: argparse.Namespace) -> int:
    from ...prediction.watch import watched
    from ...rawscans.find import is_bids

    root, output = Path(arguments.bids_dir), Path(arguments.output_dir)
    if not is_bids(root):
        raise DataError(f"{root} is no BIDS data set: it has no sub-*/ folder; give its root")
    if arguments.level == "group":
        return _group(root, output)
    require_writable(output)
    if arguments.workers or arguments.participant_label:
        return _participants(arguments)
    return watched(partial(in_own_process, _participants), arguments)  # a scan that ends the process costs itself only


def _participants(arguments: argparse.Namespace) -> int:
    from ...prediction.predictor import predict_batch
    from ...prediction.released import choose_model
    from ...rawscans.find import contrasts_of, find_bids
    from ...runs.model_folder import ModelFolder
    from ...runs.start import start

    start(seed=0)
    root, output = Path(arguments.bids_dir), Path(arguments.output_dir)
    folder = None if arguments.model is None else model_folder(arguments.model)
    contrast = arguments.contrast
    if contrast is None and folder is not None:
        contrast = ModelFolder.read(folder).contrast
    if contrast is None:
        there = contrasts_of(root)
        if len(there) != 1:
            named_there = ", ".join(there) or "none that is known"
            raise ConfigError(f"{root} holds scans of several contrasts ({named_there}): choose one by --contrast")
        (contrast,) = there
    labels = (arguments.participant_label, arguments.session_label, arguments.run_label)
    scans = find_bids(root, contrast.lower(), *labels)
    if folder is None:
        folder = named(choose_model((), contrast))
    with tempfile.TemporaryDirectory() as place:
        listed = Path(place) / "scans.txt"
        listed.write_text("".join(f"{scan.image.resolve()}\n" for scan in scans), encoding="utf-8")
        records = predict_batch(
            folder,
            listed,
            output,
            sensitivity=arguments.sensitivity,
            contrast=contrast,
            scanner=arguments.scanner,
            extractor=arguments.extractor,
            register=arguments.register,
            viewer=arguments.viewer,
            num_workers=arguments.workers,
        )
    closing(
        {"maps and findings": output, "report": output / "index.html"},
        {"tables and page of the group": command_line("uad", "bids", root, output, "group")},
    )
    return 4 if any(record["status"] == "failed" for record in records) else 0


def _group(root: Path, output: Path) -> int:
    from ...prediction.group_table import write_group_tables
    from ...prediction.page import write_batch_report
    from ...prediction.results import earlier_records
    from ...rawscans.find import participants

    records, people = earlier_records(output), participants(root)
    if not records:
        raise DataError(f"{output} holds no results: run 'uad bids {root} {output} participant' first")
    write_group_tables(output, records, people)
    settings: dict[str, Any] = next((record["Settings"] for record in records if "Settings" in record), {})
    write_batch_report(output, records, settings, people=people)
    closing(
        {
            "a row per scan": output / "group.tsv",
            "a row per finding": output / "findings.tsv",
            "page": output / "index.html",
        }
    )
    return 4 if any(record["status"] == "failed" for record in records) else 0
