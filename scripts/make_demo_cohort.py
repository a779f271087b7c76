# SPDX-License-Identifier: Apache-2.0
"""Make the synthetic cohort: the same as ``uad cohort``."""

import sys

from custom.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["cohort", *sys.argv[1:]]))
