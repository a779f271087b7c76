# SPDX-License-Identifier: Apache-2.0
"""Look at every list and scan of a data root and tell all faults: ``python scripts/check_data.py DATA_ROOT``.

Exit code 0: no errors (warnings do not count); 4: errors; 2: wrong arguments.
"""

import argparse
import sys

from custom.cohorts.gate import Checked, check, repair, table
from custom.core.errors import UADError
from custom.core.files import atomic_write_json


def main() -> int:
    """Read the arguments, check, print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_root", help="folder with splits, Train and Test")
    parser.add_argument("--datasets", help="names, separated by commas (default: those that are there)")
    parser.add_argument("--contrast", choices=("t1", "t2"), help="default: those that are there")
    parser.add_argument("--fold", type=int, help="only the lists of this fold and those without folds (default: all)")
    parser.add_argument("--allow", default="", help="codes, separated by commas, that count as warnings")
    parser.add_argument(
        "--repair",
        choices=("nan=0",),
        help="set NaN and infinite voxels outside the brain mask to 0; originals are kept",
    )
    parser.add_argument("--json", help="file for the findings as JSON")
    parser.add_argument("--workers", type=int, default=0, help="threads; 0: one per CPU core (default)")
    parser.add_argument("--no-cache", action="store_true", help="read all files again and remember nothing")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args()

    def look() -> Checked:
        return check(
            args.data_root,
            [name for name in (args.datasets or "").split(",") if name] or None,
            args.contrast,
            args.fold,
            workers=args.workers,
            cache=not args.no_cache,
            allow=[code for code in args.allow.split(",") if code],
        )

    try:
        checked = look()
        if args.repair:
            for one in repair(args.data_root, checked.findings):
                print(
                    f"{one.file}: "
                    + (f"not repaired, {one.refused}" if one.refused else f"{one.voxels} voxels set to 0")
                )
            checked = look()
        if args.json:
            atomic_write_json(args.json, {**checked.as_json(), "data_root": args.data_root})
    except UADError as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if args.debug:
            raise
        print(
            f"error: cannot write {error.filename or args.json}: {error.strerror}; check place and space",
            file=sys.stderr,
        )
        return 2
    print(table(checked))
    return 4 if checked.errors else 0


if __name__ == "__main__":
    sys.exit(main())
