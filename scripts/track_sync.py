# SPDX-License-Identifier: Apache-2.0
"""Send what could not be tracked during a run: track_sync.py RUN_FOLDER [--tracking-uri URI]."""

import argparse
import sys
from pathlib import Path

from custom.runs.outbox import Outbox
from custom.runs.sync import default_uri, sync_outbox


def main() -> int:
    """Send the outbox of every folder given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="output folders that hold a tracking.jsonl")
    parser.add_argument(
        "--tracking-uri", default=default_uri(), help="MLflow server or database (default: %(default)s)"
    )
    arguments = parser.parse_args()
    for folder in arguments.folders:
        if not (folder / "tracking.jsonl").is_file():
            print(f"error: {folder} has no tracking.jsonl; give the output folder of a run.", file=sys.stderr)
            return 2
        if Outbox(folder).mark_dead():
            print(f"{folder}: its process is gone without a word; marked as failed")
        try:
            print(f"{folder}: {sync_outbox(folder, arguments.tracking_uri)} entries sent to {arguments.tracking_uri}")
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            print(f"error: {arguments.tracking_uri} cannot be reached ({reason}); nothing is lost.", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
