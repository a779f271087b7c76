# SPDX-License-Identifier: Apache-2.0
"""Look at every list and scan of a data root: the same as ``uad check``."""

import sys

from custom.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["check", *sys.argv[1:]]))
