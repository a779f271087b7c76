# SPDX-License-Identifier: Apache-2.0
"""The demonstration: the same as ``uad demo``."""

import sys

from custom.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
