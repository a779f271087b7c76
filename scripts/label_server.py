# SPDX-License-Identifier: Apache-2.0
"""Serve frozen bundles to 3D Slicer or OHIF by MONAI Label: ``label_server.py setup``, then ``label_server.py serve``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # label/ is no part of the installed package

from custom.core.errors import UADError
from label.environment import create_environment, serve


def main() -> int:
    """Read the arguments and set up or serve; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default=".venv-label", help="folder of MONAI Label's environment (about 3 GB)")
    commands = parser.add_subparsers(dest="command", required=True)
    setup = commands.add_parser("setup", help="create the environment with the pinned versions")
    setup.add_argument("--python", default="python3.11", help="Python 3.11 interpreter")
    start = commands.add_parser("serve", help="start the server on 127.0.0.1")
    start.add_argument("bundles", nargs="+", help="frozen bundles, all from one version of the code")
    start.add_argument("--studies", required=True, help="folder of scans; the server writes labels into it")
    start.add_argument("--work", default="output/label", help="where the app goes")
    start.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    try:
        if args.command == "setup":
            print(create_environment(args.env, args.python))
            return 0
        return serve(Path(args.env).absolute() / "bin" / "python", args.bundles, args.studies, args.work, args.port)
    except UADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
