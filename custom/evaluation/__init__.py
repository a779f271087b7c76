# SPDX-License-Identifier: Apache-2.0
"""From reconstructions to a scored benchmark: plan, maps, thresholds, measurements, report.

Pass 1 (:class:`MapCollector`) makes the anomaly maps of every score and post-processing and their histograms; pass 2
(:class:`Measurer`) freezes thresholds on validation groups and measures the test groups; :class:`EvaluationReport`
writes what was found.
"""

from .calibrate import promote
from .cases import evaluation_cases, standard_plan
from .collector import MapCollector
from .figures import EvaluationFigures
from .measure import Measurements, Measurer
from .plan import EvaluationPlan
from .protocol import protocol_block
from .report import EvaluationReport
from .shards import merge_shards, save_shard

__all__ = [
    "EvaluationFigures",
    "EvaluationPlan",
    "EvaluationReport",
    "MapCollector",
    "Measurements",
    "Measurer",
    "evaluation_cases",
    "merge_shards",
    "promote",
    "protocol_block",
    "save_shard",
    "standard_plan",
]
