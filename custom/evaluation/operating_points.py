# SPDX-License-Identifier: Apache-2.0
"""Freeze the thresholds of a variant for a test group, each with its source said.

========================  =============================================================  ==============
name                      source                                                         needs labels
========================  =============================================================  ==============
``tuned``                 best pooled Dice on the labelled validation group               yes
``interval_search``       the papers' search on the same group (Behrendt et al., 2024)   yes
``healthy_fpr_<rate>``    quantile of healthy validation voxels inside the brain          no
``oracle``                best pooled Dice on the test group itself: an upper bound,      test labels
                          never a result
========================  =============================================================  ==============

All are searched on post-processed maps before the removal of small components, as the papers do. Where a score does
not find the lesions, the best Dice marks a large part of every brain: such a threshold is called indiscriminate.
"""

from dataclasses import dataclass

from ..metrics import interval_search
from .collector import MapCollector
from .plan import EvaluationPlan, TestPlan

ORACLE = "oracle"
INDISCRIMINATE_FPR = 0.2


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold with its name and where it comes from.

    ``healthy_fpr`` is the share of the voxels in the brains of the healthy calibration scans that lie above, in [0, 1].
    """

    name: str
    threshold: float
    source: str
    healthy_fpr: float

    @property
    def is_indiscriminate(self) -> bool:
        """Whether it marks more than 20 % of the healthy brain."""
        return self.healthy_fpr > INDISCRIMINATE_FPR


def healthy_points(collector: MapCollector, plan: EvaluationPlan, variant: str) -> list[OperatingPoint]:
    """Return the label-free thresholds of a variant."""
    histogram = collector.brain[variant, plan.healthy_calibration]
    cases = len(collector.of_group(plan.healthy_calibration))
    return [
        OperatingPoint(
            f"healthy_fpr_{fpr:g}",
            histogram.normal_quantile_threshold(fpr),
            f"{fpr:.0%} of the brain voxels of {cases} healthy scans ({plan.healthy_calibration}) lie above",
            fpr,
        )
        for fpr in plan.healthy_fprs
    ]


def tuned_points(
    collector: MapCollector, plan: EvaluationPlan, test: TestPlan, variant: str, with_interval_search: bool = True
) -> list[OperatingPoint]:
    """Return the thresholds that the labelled validation group of ``test`` gives; none without such a group."""
    if test.tuning_group is None or not collector.whole[variant, test.tuning_group].total_anomalous:
        return []
    threshold, dice = collector.whole[variant, test.tuning_group].best_dice()
    cases = collector.of_group(test.tuning_group)
    source = f"best pooled Dice ({dice:.4f}) on {len(cases)} labelled scans ({test.tuning_group})"
    points = [_point("tuned", threshold, source, collector, plan, variant)]
    if with_interval_search:
        maps, truths = ([collector.volume(case, name) for case in cases] for name in (variant, "seg"))
        threshold, dice = interval_search(maps, truths)
        source = f"interval search, pooled Dice {dice:.4f}, on {len(cases)} labelled scans ({test.tuning_group})"
        points.append(_point("interval_search", threshold, source, collector, plan, variant))
    return points


def operating_points(
    collector: MapCollector, plan: EvaluationPlan, test: TestPlan, variant: str, with_interval_search: bool = True
) -> list[OperatingPoint]:
    """Return all thresholds under which a test group is reported, the oracle last."""
    points = tuned_points(collector, plan, test, variant, with_interval_search)
    points += healthy_points(collector, plan, variant)
    histogram = collector.whole[variant, test.group]
    if histogram.total_anomalous:
        threshold, _ = histogram.best_dice()
        source = f"best pooled Dice on {test.group} itself; an upper bound"
        points.append(_point(ORACLE, threshold, source, collector, plan, variant))
    return points


def _point(
    name: str, threshold: float, source: str, collector: MapCollector, plan: EvaluationPlan, variant: str
) -> OperatingPoint:
    healthy = collector.brain[variant, plan.healthy_calibration].confusion_at(threshold)
    return OperatingPoint(name, threshold, source, healthy.fpr or 0.0)
