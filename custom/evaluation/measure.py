# SPDX-License-Identifier: Apache-2.0
"""Second pass of an evaluation: apply frozen thresholds, case by case, and sum up.

Everything is measured on the working grid over the whole volume, as the papers do; ``*_brain`` keys are restricted to
the brain mask. Truth outside the eroded mask therefore counts as missed. Means are over cases (subjects) with 95 %
bootstrap intervals; pooled numbers add the voxels of all cases up first, and let large lesions dominate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any, Literal

import numpy as np
import torch

from ..core.progress import progress
from ..core.seeding import derive_seed
from ..metrics import (
    ConfusionCounts,
    case_ranking,
    confusion_counts,
    l1_ratio,
    lesion_counts,
    pooled_dice_ci,
    reconstruction_metrics,
    summarise_cases,
)
from .collector import MapCollector
from .operating_points import OperatingPoint, healthy_points, operating_points, tuned_points
from .plan import EvaluationPlan, TestPlan
from .spool import CaseInfo

Row = dict[str, Any]
RATES = ("dice", "precision", "recall", "fpr", "fdr")


@dataclass
class Measurements:
    """Everything an evaluation found; ``summary`` is what ``metrics.json`` holds, ``rows`` what ``per_case.csv`` holds."""

    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    points: dict[tuple[str, str], list[OperatingPoint]] = field(default_factory=dict)


class Measurer:
    """Measure a finished collection.

    Args:
        seed: of the bootstrap.
        lesion_overlap: when a lesion counts as found, see :func:`custom.metrics.lesion_counts`.
    """

    def __init__(self, seed: int, lesion_overlap: Literal["any", "fraction", "iou"] = "any") -> None:
        self.seed = seed
        self.lesion_overlap = lesion_overlap

    def __call__(self, collector: MapCollector, plan: EvaluationPlan) -> Measurements:
        """Return the measurements of all test groups and of the healthy scans."""
        found = Measurements(summary={"datasets": {}, "healthy": {}})
        for test in plan.test_plans:
            cases = collector.of_group(test.group)
            found.summary["datasets"][test.name] = {
                "group": test.group,
                "tuning_group": test.tuning_group,
                "cases": len(cases),
                "reconstruction": self._reconstruction(collector, cases, found.rows),
                "variants": {
                    variant: self._test(collector, plan, test, variant, cases, found)
                    for variant in progress(collector.variants, desc=f"measuring {test.name}", unit="score")
                },
            }
        for group in dict.fromkeys(g for g in (plan.healthy_calibration, plan.healthy_test) if g):
            cases = collector.of_group(group)
            found.summary["healthy"][group] = {
                "cases": len(cases),
                "reconstruction": self._reconstruction(collector, cases, found.rows),
                "variants": {v: self._healthy(collector, plan, v, cases, found) for v in collector.variants},
            }
        return found

    def _test(
        self, collector: MapCollector, plan: EvaluationPlan, test: TestPlan, variant: str,
        cases: Sequence[CaseInfo], found: Measurements,
    ) -> dict[str, Any]:  # fmt: skip
        points = found.points[test.name, variant] = operating_points(collector, plan, test, variant)
        counts: dict[str, list[ConfusionCounts]] = {point.name: [] for point in points}
        lesions: dict[str, list[Any]] = {point.name: [] for point in points}
        rows: dict[str, list[Row]] = {point.name: [] for point in points}
        rankings: list[Row] = []
        for case in cases:
            anomaly_map, seg, mask = (collector.volume(case, name) for name in (variant, "seg", "mask"))
            rankings.append(dict(case_ranking(anomaly_map, seg, mask)))
            for point, binary in self._binaries(collector, variant, anomaly_map, points):
                count = confusion_counts(binary, seg)
                lesion = lesion_counts(binary, seg, collector.spacing_mm, overlap=self.lesion_overlap)
                counts[point.name].append(count)
                lesions[point.name].append(lesion)
                row = (
                    self._row(case, test.name, variant, point, count, collector.spacing_mm)
                    | rankings[-1]
                    | lesion.as_dict()
                )
                rows[point.name].append(row)
        found.rows += [row for group in rows.values() for row in group]
        whole, brain = collector.whole[variant, test.group], collector.brain[variant, test.group]
        defined = bool(whole.total_anomalous and whole.total_normal)
        return {
            "pooled": {
                "average_precision": whole.average_precision() if defined else None,
                "average_precision_brain": brain.average_precision() if defined and brain.total_anomalous else None,
                "auroc": whole.auroc() if defined else None,
                "prevalence": whole.total_anomalous / max(whole.total_anomalous + whole.total_normal, 1),
            },
            "per_case": self._summarise(rankings, test.name, variant),
            "operating_points": {
                point.name: {
                    "threshold": point.threshold,
                    "source": point.source,
                    "healthy_fpr": point.healthy_fpr,
                    "indiscriminate": point.is_indiscriminate,
                    "pooled": self._pooled(counts[point.name], test.name, variant),
                    "lesion_wise": reduce(add, lesions[point.name]).as_dict() if lesions[point.name] else {},
                    "per_case": self._summarise(
                        [{k: row[k] for k in (*RATES, "fp_ml", "lesion_recall", "lesion_f1")} for row in rows[point.name]],
                        test.name, variant, point.name,
                    ),
                }
                for point in points
            },
        }  # fmt: skip

    def _healthy(
        self,
        collector: MapCollector,
        plan: EvaluationPlan,
        variant: str,
        cases: Sequence[CaseInfo],
        found: Measurements,
    ) -> dict[str, Any]:
        points = healthy_points(collector, plan, variant)
        for test in plan.test_plans:
            points += [
                replace(p, name=f"{p.name}:{test.name}")
                for p in tuned_points(collector, plan, test, variant, with_interval_search=False)
            ]
        rows: dict[str, list[Row]] = {point.name: [] for point in points}
        for case in cases:
            anomaly_map, seg = collector.volume(case, variant), collector.volume(case, "seg")
            for point, binary in self._binaries(collector, variant, anomaly_map, points):
                count = confusion_counts(binary, seg)
                name = case.group.split("/")[0]
                rows[point.name].append(self._row(case, name, variant, point, count, collector.spacing_mm))
        found.rows += [row for group in rows.values() for row in group]
        return {
            point.name: {
                "threshold": point.threshold,
                "per_case": self._summarise([{"fp_ml": r["fp_ml"]} for r in rows[point.name]], variant, point.name),
                "flagged_scans": sum(r["fp_ml"] > 0 for r in rows[point.name]),
            }
            for point in points
        }

    def _binaries(
        self, collector: MapCollector, variant: str, anomaly_map: Any, points: Sequence[OperatingPoint]
    ) -> Iterator[tuple[OperatingPoint, Any]]:
        postprocessing = collector.postprocessing_of(variant)
        for point in points:
            binary = postprocessing.binarise(torch.from_numpy(anomaly_map), point.threshold, collector.spacing_mm)
            yield point, binary.numpy()

    def _reconstruction(self, collector: MapCollector, cases: Sequence[CaseInfo], rows: list[Row]) -> dict[str, Any]:
        found: list[Row] = []
        for case in cases:
            image, reconstruction, mask, seg = (
                collector.volume(case, name) for name in ("image", "reconstruction", "mask", "seg")
            )
            found.append(dict(reconstruction_metrics(image, reconstruction, mask)))
            found[-1]["l1_ratio"] = l1_ratio(image, reconstruction, seg, mask)
            rows.append({"dataset": case.group.split("/")[0], "group": case.group, "case_id": case.case_id} | found[-1])
        return self._summarise(found, "reconstruction")

    def _summarise(self, rows: Sequence[Row], *names: str) -> dict[str, Any]:
        return dict(summarise_cases(rows, seed=derive_seed(self.seed, "bootstrap", *names) % 2**32))

    def _pooled(self, counts: Sequence[ConfusionCounts], *names: str) -> dict[str, Any]:
        if not counts:
            return {}
        rates = _rates(reduce(add, counts))
        if rates["dice"] is None or len(counts) < 2:
            return rates
        interval = pooled_dice_ci(counts, seed=derive_seed(self.seed, "pooled", *names) % 2**32)
        return rates | {"dice_ci_low": interval.low, "dice_ci_high": interval.high}

    @staticmethod
    def _row(
        case: CaseInfo,
        dataset: str,
        variant: str,
        point: OperatingPoint,
        count: ConfusionCounts,
        spacing_mm: Sequence[float],
    ) -> Row:
        voxel_ml = float(np.prod(spacing_mm)) / 1000
        return {
            "dataset": dataset, "group": case.group, "case_id": case.case_id, "variant": variant,
            "operating_point": point.name, "threshold": point.threshold, **_rates(count),
            "tp": count.tp, "fp": count.fp, "fn": count.fn, "fp_ml": count.fp * voxel_ml,
            "truth_ml": (count.tp + count.fn) * voxel_ml,
        }  # fmt: skip


def _rates(count: ConfusionCounts) -> Row:
    return {name: getattr(count, name) for name in RATES}
