# SPDX-License-Identifier: Apache-2.0
"""Make a self-contained release of a trained model: the same as ``uad freeze``."""

import sys

from custom.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["freeze", *sys.argv[1:]]))
