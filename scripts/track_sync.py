# SPDX-License-Identifier: Apache-2.0
"""Send what could not be tracked during a run: the same as ``uad sync``."""

import sys

from custom.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["sync", *sys.argv[1:]]))
