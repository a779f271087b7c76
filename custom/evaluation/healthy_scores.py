# SPDX-License-Identifier: Apache-2.0
"""Scores relative to healthy scans: statistics of the calibration scans, then the maps of all scans.

Between the two passes of an evaluation. A calibration scan is compared with the *other* calibration scans, as a new scan is
with all of them; otherwise it would find itself in the statistics, and the thresholds that it gives would be too low. What
the model gets is the statistics of all. Computed on the CPU, whatever made the maps.
"""

import logging
from dataclasses import replace
from typing import cast

from torch import from_numpy

from ..scoring import HealthyRelative
from ..scoring.healthy_statistics import HealthySums
from .collector import RAW, MapCollector
from .plan import EvaluationPlan

logger = logging.getLogger(__name__)
FEWEST = 2


def finish_healthy_scores(collector: MapCollector, plan: EvaluationPlan) -> None:
    """Fit the scores of a collection that need statistics of healthy scans, and count their maps.

    With fewer than two calibration scans they are left out, which is logged.

    Args:
        collector: with all cases.
        plan: says which of them calibrate.
    """
    for name, score in collector.unfitted.items():
        group = plan.healthy_calibration
        calibration = collector.of_group(group)
        if len(calibration) < FEWEST:
            logger.warning(
                "%s is left out: it needs %d healthy scans, %s has %d", name, FEWEST, group, len(calibration)
            )
            continue
        sums = HealthySums(score.smoothing_px)
        for case in calibration:
            sums.add(collector.volume(case, name + RAW), collector.volume(case, "mask"))
        statistics = sums.statistics()
        collector.fitted[name] = replace(cast(HealthyRelative, collector.scores[name]), statistics=statistics)
        for case in sorted(collector.cases, key=lambda case: (case.group, case.case_id)):
            raw, mask, seg = (collector.volume(case, part) for part in (name + RAW, "mask", "seg"))
            own = sums.statistics(without=(raw, mask)) if case.group == group else statistics
            relative = score.fitted(own).relative(from_numpy(raw))
            collector.count(case, name, relative, from_numpy(mask), from_numpy(seg))
