# SPDX-License-Identifier: Apache-2.0
"""Send what could not be tracked during a run to MLflow."""

import argparse
from pathlib import Path

from ...core.errors import ConfigError, DiskFullError, ResourceError
from ...core.foreseen import says_disk_full
from ...runs.secrets import without_secrets
from ..words import closing, runs_in_browser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", type=Path, help="output folders that hold a tracking.jsonl")
    parser.add_argument(
        "--tracking_uri",
        help="MLflow server or database (default: $MLFLOW_TRACKING_URI, else sqlite:///output/mlflow.db)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    from ...runs.outbox import Outbox
    from ...runs.sync import default_uri, sync_outbox

    uri = arguments.tracking_uri or default_uri()
    for folder in arguments.folders:
        if not (folder / "tracking.jsonl").is_file():
            raise ConfigError(f"{folder} has no tracking.jsonl; give the output folder of a run.")
        if Outbox(folder).mark_dead():
            print(f"{folder}: its process ended without a last entry; marked as failed")
        try:
            print(f"{folder}: {sync_outbox(folder, uri)} entries sent to {without_secrets(uri)}")
        except Exception as error:
            if says_disk_full(str(error)):
                raise DiskFullError(
                    f"the disk is full (that of {folder}, or of {without_secrets(uri)}); nothing is lost. Free some space and run "
                    "the same command again."
                ) from None
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ResourceError(
                f"{without_secrets(uri)} cannot be reached ({without_secrets(reason)}); nothing is lost."
            ) from None
    closing({}, runs_in_browser(without_secrets(uri)) if uri.startswith("sqlite") else {})
    return 0
