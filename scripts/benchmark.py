# SPDX-License-Identifier: Apache-2.0
"""Train what is missing, evaluate, and print Table 1: the same as ``uad matrix``."""

import sys

from custom.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["matrix", *sys.argv[1:]]))
