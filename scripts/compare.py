# SPDX-License-Identifier: Apache-2.0
"""Put finished runs into one table: the same as ``uad compare``."""

import sys

from custom.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
