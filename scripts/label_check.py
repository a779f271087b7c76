# SPDX-License-Identifier: Apache-2.0
"""Check a real MONAI Label server with phantoms: ``python scripts/label_check.py --python .venv-label/bin/python``."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # label/ is no part of the installed package

from custom.core.errors import UADError
from label.check import check_label_server, table
from label.environment import ENV_PYTHON


def main() -> int:
    """Read the arguments, run the checks and print the table; return 0 only if all passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get(ENV_PYTHON, ".venv-label/bin/python")
    parser.add_argument("--python", default=default, help=f"of MONAI Label's environment (default: ${ENV_PYTHON})")
    parser.add_argument("--work", type=Path, help="new folder that is kept, with server.log; default: a temporary one")
    args = parser.parse_args()
    try:
        if args.work:
            args.work.mkdir(parents=True)
            checks = check_label_server(Path(args.python).absolute(), args.work)
        else:
            with tempfile.TemporaryDirectory() as work:
                checks = check_label_server(Path(args.python).absolute(), work)
    except UADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(checks))
    return 0 if all(check.passed for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
