# SPDX-License-Identifier: Apache-2.0
"""Make a self-contained release of a trained model: ``python scripts/freeze_bundle.py RUN_DIR -o OUT --zip``."""

import argparse
import sys

from custom.core.errors import UADError
from custom.release.freeze import freeze_bundle


def main() -> int:
    """Read the arguments, freeze, print where the release lies; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", help="folder of a trained and evaluated model")
    parser.add_argument("-o", "--output", required=True, help="where the release folder (and zip) goes")
    parser.add_argument("--bundle", help="source bundle (default: the one of the model's method)")
    parser.add_argument("--name", help="name of the release (default: bundle, contrast and fold)")
    parser.add_argument("--zip", action="store_true", help="write a zip too")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args()
    try:
        folder = freeze_bundle(args.run_dir, args.output, args.bundle, args.name, args.zip)
    except UADError as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(folder)
    if args.zip:
        print(folder.with_name(f"{folder.name}.zip"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
