# SPDX-License-Identifier: Apache-2.0
"""Second pass of an evaluation: apply frozen thresholds, case by case, and sum up.

Everything is measured on the working grid over the whole volume, as the papers do; ``*_brain`` keys are restricted to
the brain mask. Truth outside the eroded mask therefore counts as missed. Means are over cases (subjects), with a 95 % BCa
bootstrap interval from ten cases on; pooled numbers add the voxels of all cases up first, and let large lesions dominate.

Average precision has two numbers: ``pooled`` (one ranking of the voxels of all cases) and ``per_case`` (mean of the cases'
own). ``over_uninformative`` divides each by that of a map that is 1 in the evaluated region: above 1, the score knows more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ..core.progress import progress
from ..metrics import (
    CRITERION,
    RATES,
    ConfusionCounts,
    case_ranking,
    confusion_counts,
    healthy_summary,
    l1_ratio,
    lesion_counts,
    reconstruction_metrics,
    scan_auroc,
    scan_score,
)
from .collector import MapCollector
from .operating_points import OperatingPoint, healthy_points, left_out, operating_points, tuned_points
from .plan import EvaluationPlan, TestPlan
from .spool import CaseInfo
from .summaries import Row, compare_with_uninformative, lesion_wise, pooled_rates, summarise

LEAVE_ONE_OUT = "calibration, each scan at the thresholds of the others"
SCAN_LEVEL = (
    "mean score in the brain; healthy scans and patients of different scanners are told apart without any lesion"
)


@dataclass
class Measurements:
    """Everything an evaluation found; ``summary`` is what ``metrics.json`` holds, ``rows`` what ``per_case.csv`` holds.

    >>> from custom.evaluation.report import rows_to_csv
    >>> print(rows_to_csv(Measurements(rows=[{"case_id": "P1", "dice": 0.5}]).rows), end="")
    case_id,dice
    P1,0.5
    """

    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    points: dict[tuple[str, str], list[OperatingPoint]] = field(default_factory=dict)
    contrast: str = ""


class Measurer:
    """Measure a finished collection.

    >>> import tempfile
    >>> from custom.postprocessing import none
    >>> from custom.scoring import l1
    >>> image, brain, lesion = torch.full((12, 12, 12), 0.5), torch.ones(12, 12, 12), torch.zeros(12, 12, 12)
    >>> lesion[2:4, 2:4, 2:4] = 1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     collector = MapCollector({"l1": l1}, {"none": none()}, folder, spacing_mm=(2, 2, 2))
    ...     collector.add(CaseInfo("H1", "ixi/val", 0), image, image, brain, 0 * lesion)
    ...     collector.add(CaseInfo("P1", "ms/test", 1), image + 0.4 * lesion, image, brain, lesion)
    ...     found = Measurer()(collector, EvaluationPlan({"ms/test": None}, "ixi/val")).summary["datasets"]["ms"]
    >>> found["variants"]["l1"]["operating_points"]["oracle"]["per_case"]["dice"]["mean"]
    1.0
    """

    def __call__(self, collector: MapCollector, plan: EvaluationPlan) -> Measurements:
        """Return the measurements of all test groups and of the healthy scans."""
        found = Measurements(summary={"datasets": {}, "healthy": {}})
        for test in plan.test_plans:
            cases = collector.of_group(test.group)
            variants = {
                variant: self._test(collector, plan, test, variant, cases, found)
                for variant in progress(collector.variants, desc=f"measuring {test.name}", unit="score")
            }
            compare_with_uninformative(variants)
            found.summary["datasets"][test.name] = {
                "group": test.group,
                "tuning_group": test.tuning_group,
                "cases": len(cases),
                "lesion_criterion": CRITERION,
                "reconstruction": self._reconstruction(collector, cases, found.rows),
                "variants": variants,
            }
        for group in dict.fromkeys(g for g in (plan.healthy_calibration, plan.healthy_test) if g):
            cases = collector.of_group(group)
            if not cases:
                continue
            found.summary["healthy"][group] = {
                "cases": len(cases),
                "role": self._role(plan, group),
                "reconstruction": self._reconstruction(collector, cases, found.rows),
                "variants": {v: self._healthy(collector, plan, v, cases, found) for v in collector.variants},
            }
        self._scan_level(plan, found)
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
            rankings.append({"case_id": case.case_id, **case_ranking(anomaly_map, seg, mask)})
            own = {**rankings[-1], "scan_score": scan_score(anomaly_map, mask)}
            for point, binary in self._binaries(collector, variant, anomaly_map, points):
                count = confusion_counts(binary, seg)
                lesion = lesion_counts(binary, seg, collector.spacing_mm)
                counts[point.name].append(count)
                lesions[point.name].append(lesion)
                row = self._row(case, variant, point, count, collector.spacing_mm) | own
                rows[point.name].append(row | lesion.as_dict(void=point.is_indiscriminate))
        found.rows += [row for group in rows.values() for row in group]
        whole, brain = collector.whole[variant, test.group], collector.brain[variant, test.group]
        defined = bool(whole.total_anomalous and whole.total_normal)
        measured = (*RATES, "fp_ml", "lesion_recall", "lesion_precision", "lesion_f1")
        names = [case.case_id for case in cases]
        return {
            "pooled": {
                "average_precision": whole.average_precision() if defined else None,
                "average_precision_brain": brain.average_precision() if defined and brain.total_anomalous else None,
                "auroc": whole.auroc() if defined else None,
                "prevalence": whole.total_anomalous / max(whole.total_anomalous + whole.total_normal, 1),
            },
            "per_case": summarise(rankings),
            "operating_points": {
                point.name: {
                    "threshold": point.threshold,
                    "source": point.source,
                    "healthy_fpr": point.healthy_fpr,
                    "healthy_fpr_held_out": point.held_out,
                    "indiscriminate": point.is_indiscriminate,
                    "pooled": pooled_rates(counts[point.name], names),
                    "lesion_wise": lesion_wise(lesions[point.name], point),
                    "per_case": summarise([{k: row[k] for k in ("case_id", *measured)} for row in rows[point.name]]),
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
        alone = self._role(plan, cases[0].group) == LEAVE_ONE_OUT
        for test in plan.test_plans:
            points += [
                replace(p, name=f"{p.name}:{test.name}")
                for p in tuned_points(collector, plan, test, variant, with_interval_search=False)
            ]
        rows: dict[str, list[Row]] = {point.name: [] for point in points}
        for case in cases:
            anomaly_map, seg, mask = (collector.volume(case, name) for name in (variant, "seg", "mask"))
            own = {"scan_score": scan_score(anomaly_map, mask)}
            of_case = points
            if alone:  # at the thresholds of the other scans
                others = {point.name: point for point in left_out(points, collector, plan, variant, case)}
                of_case = [others.get(point.name, point) for point in points]
            for point, binary in self._binaries(collector, variant, anomaly_map, of_case):
                count = confusion_counts(binary, seg)
                above = float((anomaly_map[mask > 0] > point.threshold).mean())
                row = self._row(case, variant, point, count, collector.spacing_mm)
                rows[point.name].append(row | own | {"brain_share_above": above})
        found.rows += [row for group in rows.values() for row in group]
        histogram = collector.brain[variant, cases[0].group]
        return {
            point.name: {
                "threshold": point.threshold,
                "brain_share_above": histogram.confusion_at(point.threshold).fpr,
                "per_case": summarise(
                    [{k: row[k] for k in ("case_id", "fp_ml", "brain_share_above")} for row in rows[point.name]]
                ),
                "false_positives": healthy_summary([row["fp_ml"] for row in rows[point.name]]),
            }
            for point in points
        }

    @staticmethod
    def _role(plan: EvaluationPlan, group: str) -> str:
        if group != plan.healthy_calibration:
            return "held out"
        return "calibration" if plan.healthy_test else LEAVE_ONE_OUT

    @staticmethod
    def _scan_level(plan: EvaluationPlan, found: Measurements) -> None:
        """Add how well the mean score tells patients from the held-out healthy scans."""
        scores: dict[tuple[str, str], dict[str, float]] = {}
        for row in found.rows:
            if "scan_score" in row:
                scores.setdefault((row["group"], row["variant"]), {})[row["case_id"]] = row["scan_score"]
        for block in found.summary["datasets"].values():
            for variant, measured in block["variants"].items():
                patients = list(scores.get((block["group"], variant), {}).values())
                healthy = list(scores.get((plan.healthy_test or "", variant), {}).values())
                labels = [1] * len(patients) + [0] * len(healthy)
                measured["scan_level"] = {
                    "auroc": scan_auroc(patients + healthy, labels),
                    "patients": len(patients), "healthy": len(healthy), "score": SCAN_LEVEL,
                }  # fmt: skip

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
            found.append({"case_id": case.case_id, **reconstruction_metrics(image, reconstruction, mask)})
            found[-1]["l1_ratio"] = l1_ratio(image, reconstruction, seg, mask)
            rows.append({"dataset": case.group.split("/")[0], "group": case.group} | found[-1])
        return summarise(found)

    @staticmethod
    def _row(
        case: CaseInfo, variant: str, point: OperatingPoint, count: ConfusionCounts, spacing_mm: Sequence[float]
    ) -> Row:
        voxel_ml = float(np.prod(spacing_mm)) / 1000
        return {
            "dataset": case.group.split("/")[0], "group": case.group, "case_id": case.case_id, "variant": variant,
            "operating_point": point.name, "threshold": point.threshold, **count.rates(),
            "tp": count.tp, "fp": count.fp, "fn": count.fn, "fp_ml": count.fp * voxel_ml,
            "truth_ml": (count.tp + count.fn) * voxel_ml,
        }  # fmt: skip
