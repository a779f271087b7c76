# SPDX-License-Identifier: Apache-2.0
"""From any scan to the model's grid and back, as functions and as dictionary transforms."""

from .grid_dictionary import FromModelGridd, ToModelGridd, to_scan_grid
from .model_grid import OnGrid, to_model_grid
from .resampling import resample, to_closest_ras
from .scan_dictionary import CheckScand, ReadScand, SegmentAnomalyd

__all__ = [
    "CheckScand",
    "FromModelGridd",
    "OnGrid",
    "ReadScand",
    "SegmentAnomalyd",
    "ToModelGridd",
    "resample",
    "to_closest_ras",
    "to_model_grid",
    "to_scan_grid",
]
