# SPDX-License-Identifier: Apache-2.0
"""Freeze the thresholds of a variant for a test group, each with its source said.

========================  =============================================================  ==============
name                      source                                                         needs labels
========================  =============================================================  ==============
``tuned``                 best pooled Dice on the labelled validation group, exact       yes
``interval_search``       the papers' search on the same group (Behrendt et al., 2024)   yes
``healthy_fpr_<rate>``    quantile of healthy calibration voxels inside the brain        no
``typical_fpr_<rate>``    median over healthy calibration scans of each scan's own       no
                          quantile; one odd scan does not move it, and is named
``conformal_<rate>``      of a new healthy scan, at most <rate> of the brain lies        no
                          above with a stated probability (split conformal)
``oracle``                best mean Dice of the test group's scans after the whole       test labels
                          chain, never a result
========================  =============================================================  ==============

All but the oracle are searched on post-processed maps before the removal of small components, as the papers do. Where a
score does not find the lesions, the best Dice marks a large part of every brain: such a threshold is called
indiscriminate. How much of healthy brains lies above is measured on scans that no threshold comes from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core.errors import DataError
from ..metrics import (
    INDISCRIMINATE_FPR,
    best_dice_threshold,
    conformal_case_threshold,
    healthy_quantile_threshold,
    interval_search,
)
from .collector import MapCollector
from .oracle import oracle
from .plan import EvaluationPlan, TestPlan
from .spool import CaseInfo

ORACLE = "oracle"
TYPICAL, CONFORMAL = "typical_fpr_", "conformal_"
OUTLIER_DEVIATIONS = 5  # median absolute deviations above the median


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold with its name and where it comes from.

    ``healthy_fpr`` is the share, in [0, 1], of the voxels in healthy brains that lie above: of the held-out healthy scans,
    or, where there are none, of those that calibrate the label-free thresholds (``held_out`` says which).

    >>> point = OperatingPoint("tuned", 0.12, "best pooled Dice on 5 labelled scans (ms/val)", healthy_fpr=0.31)
    >>> point.is_indiscriminate  # it marks nearly a third of healthy brains
    True
    """

    name: str
    threshold: float
    source: str
    healthy_fpr: float
    held_out: bool = False

    @property
    def is_indiscriminate(self) -> bool:
        """Whether it marks more than 20 % of the healthy brain."""
        return self.healthy_fpr > INDISCRIMINATE_FPR


def healthy_points(collector: MapCollector, plan: EvaluationPlan, variant: str) -> list[OperatingPoint]:
    """Return the label-free thresholds of a variant; the conformal one if there are enough scans for its guarantee."""
    group = plan.healthy_calibration
    histogram, cases = collector.brain[variant, group], collector.of_group(group)
    found = [
        (
            f"healthy_fpr_{fpr:g}",
            histogram.normal_quantile_threshold(fpr),
            f"{100 * fpr:g} % of the brain voxels of {len(cases)} healthy scans ({group}) lie above",
        )
        for fpr in plan.healthy_fprs
    ]
    own = own_quantiles(collector, plan, variant)
    found += [(f"{TYPICAL}{fpr:g}", *_typical(values, fpr, cases, group)) for fpr, values in own.items() if values]
    if plan.healthy_fprs:
        fpr = plan.healthy_fprs[0]
        try:
            threshold = conformal_case_threshold(own[fpr], plan.conformal_rate)
        except DataError:  # too few scans for this guarantee
            pass
        else:
            source = (
                f"a new healthy scan has more than {100 * fpr:g} % of its brain above with a probability of at most "
                f"{100 * plan.conformal_rate:g} %, if it is like the {len(cases)} of {group}"
            )
            found.append((f"{CONFORMAL}{fpr:g}", threshold, source))
    return [_point(*point, collector, plan, variant) for point in found]


def own_quantiles(collector: MapCollector, plan: EvaluationPlan, variant: str) -> Mapping[float, Sequence[float]]:
    """Return, by false-positive rate, the quantile of every calibration scan's own brain, in the order of the scans."""
    key = (variant, plan.healthy_calibration)
    if key not in collector.quantiles:
        cases = collector.of_group(plan.healthy_calibration)
        pairs = zip(collector.volumes(cases, variant), collector.volumes(cases, "mask"), strict=True)
        brains = [scores[mask > 0] for scores, mask in pairs]
        collector.quantiles[key] = {
            fpr: [healthy_quantile_threshold(brain, fpr) for brain in brains] for fpr in plan.healthy_fprs
        }
    return collector.quantiles[key]


def left_out(
    points: Sequence[OperatingPoint], collector: MapCollector, plan: EvaluationPlan, variant: str, case: CaseInfo
) -> list[OperatingPoint]:
    """Return the typical and conformal ones of the points as the other calibration scans give them, without ``case``."""
    number = collector.of_group(plan.healthy_calibration).index(case)
    found = []
    for fpr, values in own_quantiles(collector, plan, variant).items():
        others = [value for place, value in enumerate(values) if place != number]
        for point in points:
            if others and point.name == f"{TYPICAL}{fpr:g}":
                found.append(replace(point, threshold=float(np.median(others)), held_out=True))
            if point.name == f"{CONFORMAL}{fpr:g}":
                try:
                    found.append(replace(point, threshold=conformal_case_threshold(others, plan.conformal_rate)))
                except DataError:  # one scan fewer is too few for the guarantee
                    continue
    return found


def _typical(own: Sequence[float], fpr: float, cases: Sequence[CaseInfo], group: str) -> tuple[float, str]:
    """Return the median of the scans' own thresholds and its source, with the scans whose own one is far above."""
    median = float(np.median(own))
    limit = median + OUTLIER_DEVIATIONS * float(np.median(np.abs(np.asarray(own) - median)))
    outliers = [case.case_id for case, value in zip(cases, own, strict=True) if value > limit]
    far = f"; far above it: {', '.join(outliers)}" if outliers else ""
    source = (
        f"median over {len(own)} healthy scans ({group}) of the value that {100 * fpr:g} % of the scan's brain exceeds"
    )
    return median, source + far


def tuned_points(
    collector: MapCollector, plan: EvaluationPlan, test: TestPlan, variant: str, with_interval_search: bool = True
) -> list[OperatingPoint]:
    """Return the thresholds that the labelled validation group of ``test`` gives; none without such a group."""
    if test.tuning_group is None or not collector.whole[variant, test.tuning_group].total_anomalous:
        return []
    cases = collector.of_group(test.tuning_group)
    maps, truths = (collector.volumes(cases, name) for name in (variant, "seg"))
    threshold, dice = best_dice_threshold(maps, truths, histogram=collector.whole[variant, test.tuning_group])
    source = f"best pooled Dice ({dice:.4f}) on {len(cases)} labelled scans ({test.tuning_group})"
    points = [_point("tuned", threshold, source, collector, plan, variant)]
    if with_interval_search:
        threshold, dice = interval_search(maps, truths)
        source = f"interval search, pooled Dice {dice:.4f}, on {len(cases)} labelled scans ({test.tuning_group})"
        points.append(_point("interval_search", threshold, source, collector, plan, variant))
    return points


def operating_points(
    collector: MapCollector, plan: EvaluationPlan, test: TestPlan, variant: str
) -> list[OperatingPoint]:
    """Return all thresholds under which a test group is reported, the oracle last."""
    points = tuned_points(collector, plan, test, variant)
    points += healthy_points(collector, plan, variant)
    histogram = collector.whole[variant, test.group]
    if histogram.total_anomalous:
        cases = collector.of_group(test.group)
        best = oracle(collector, cases, variant, histogram, [point.threshold for point in points])
        source = (
            f"best mean Dice ({best.mean_dice:.4f}) after the whole chain on {test.group} itself; no threshold gives more "
            f"than {best.bound:.4f}"
        )
        points.append(_point(ORACLE, best.threshold, source, collector, plan, variant))
    return points


def _point(
    name: str, threshold: float, source: str, collector: MapCollector, plan: EvaluationPlan, variant: str
) -> OperatingPoint:
    held_out = plan.healthy_test is not None and bool(collector.of_group(plan.healthy_test))
    group = plan.healthy_test if held_out and plan.healthy_test else plan.healthy_calibration
    healthy = collector.brain[variant, group].confusion_at(threshold)
    return OperatingPoint(name, threshold, source, healthy.fpr or 0.0, held_out)
