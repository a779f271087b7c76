# SPDX-License-Identifier: Apache-2.0
"""Anomaly maps and reports for scans: the same as ``uad predict``."""

import sys

from custom.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
