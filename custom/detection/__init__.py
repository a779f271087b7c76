# SPDX-License-Identifier: Apache-2.0
"""Boxes around anomalies in 2-D pictures: from an anomaly map, and scored against the boxes of readers.

Published box scores of brain MRI (the NOVA benchmark) were measured by different rules under the same names. The rules
are here side by side under names of their own; a table says with every number which rule, which pictures and how many
boxes it comes from, and stands beside what trivial boxes reach.
"""

from .boxes import Boxes, overlap
from .from_map import MapToBoxes
from .table import THRESHOLDS, evaluate

__all__ = ["THRESHOLDS", "Boxes", "MapToBoxes", "evaluate", "overlap"]
