# SPDX-License-Identifier: Apache-2.0
"""Scans of anybody: find and read them in the formats of the field, judge them, write results beside them."""

from .find import ScanSource, find_scans
from .read import Scan, read_mask, read_scan

__all__ = ["Scan", "ScanSource", "find_scans", "read_mask", "read_scan"]
