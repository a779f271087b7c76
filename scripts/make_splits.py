# SPDX-License-Identifier: Apache-2.0
"""Make the split lists of a data set: the same as ``uad splits``."""

import sys

from custom.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["splits", *sys.argv[1:]]))
