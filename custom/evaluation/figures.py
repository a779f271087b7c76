# SPDX-License-Identifier: Apache-2.0
"""Pictures of an evaluation: cases, precision-recall curves, healthy histogram, and the paper's Figure 2.

``cases/<data set>/<case>_<variant>.png`` show input, reconstruction, anomaly map and mask with the truth outlined; one
colour scale serves all cases of a data set and variant: from 0 to the score that a thousandth of the brain exceeds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..metrics import UNINFORMATIVE, confusion_counts
from ..report.curves import healthy_histogram_figure, precision_recall_figure, sigma_sweep_figure
from ..report.figures import save_figure
from ..report.panels import case_panel
from .collector import MapCollector
from .measure import Measurements
from .operating_points import ORACLE, OperatingPoint, healthy_points
from .plan import EvaluationPlan, TestPlan

_BINS = 120


class EvaluationFigures:
    """Draw what an evaluation found.

    Args:
        primary: variant of the case pictures and of the histogram.
        compared: further variants in the case pictures and curves.
        cases: case pictures of each data set and variant, the cases with the largest truth first.
        operating_point: threshold of the case pictures; the first healthy one where it does not exist or is
            indiscriminate.

    >>> EvaluationFigures("ssim_ens", compared=["l1", "ssim_ens"]).variants
    ('ssim_ens', 'l1')
    """

    def __init__(
        self, primary: str, compared: Sequence[str] = (), cases: int = 4, operating_point: str = "tuned"
    ) -> None:
        self.primary, self.cases, self.operating_point = primary, cases, operating_point
        self.variants = tuple(dict.fromkeys((primary, *compared)))

    def __call__(self, collector: MapCollector, plan: EvaluationPlan, measured: Measurements, folder: Path) -> None:
        """Write all pictures below ``folder``."""
        variants = [v for v in self.variants if v in collector.variants]
        for test in plan.test_plans:
            points = {v: self._chosen(measured.points[test.name, v]) for v in variants}
            for variant in variants:
                vmax = max(_exceeded_by(collector, variant, test.group), points[variant].threshold * 1.05, 1e-6)
                where = folder / "cases" / test.name
                self._draw_cases(collector, test.group, variant, points[variant], vmax, where, measured.contrast)
            self._draw_curves(collector, test, variants, measured, folder)
        self._draw_healthy(collector, plan, folder)
        self._draw_sweep(measured, folder)

    def _chosen(self, points: Sequence[OperatingPoint]) -> OperatingPoint:
        for point in points:
            if point.name == self.operating_point and not point.is_indiscriminate:
                return point
        return next(point for point in points if point.name.startswith("healthy"))

    def _draw_cases(
        self, collector: MapCollector, group: str, variant: str, point: OperatingPoint, vmax: float, folder: Path,
        contrast: str,
    ) -> None:  # fmt: skip
        cases = sorted(collector.of_group(group), key=lambda c: -int(collector.volume(c, "seg").sum()))
        for case in cases[: self.cases]:
            image, reconstruction, seg, mask, anomaly_map = (
                collector.volume(case, name) for name in ("image", "reconstruction", "seg", "mask", variant)
            )
            chain = collector.postprocessing_of(variant)
            binary = chain.binarise(torch.from_numpy(anomaly_map), point.threshold, collector.spacing_mm).numpy()
            dice = confusion_counts(binary, seg).dice
            found = f"Dice {100 * dice:.1f} %" if dice is not None else "no lesion"
            title = (
                f"{case.case_id} ({group.split('/')[0]}{', ' + contrast if contrast else ''}): {variant} > "
                f"{point.threshold:.3g} ({point.name}), {found}"
            )
            figure = case_panel(
                image, reconstruction, anomaly_map, binary, seg, mask, None, vmax, max(point.threshold, 0.0), title,
                collector.spacing_mm[0],
            )  # fmt: skip
            save_figure(figure, folder / f"{case.case_id}_{variant}.png")

    def _draw_curves(
        self, collector: MapCollector, test: TestPlan, variants: Sequence[str], measured: Measurements, folder: Path
    ) -> None:
        curves, marks = {}, {}
        chance = 0.0
        for variant in variants:
            histogram = collector.whole[variant, test.group]
            if not histogram.total_anomalous:
                return
            _, at, chain = variant.partition("@")
            chance = collector.whole[f"{UNINFORMATIVE}{at}{chain}", test.group].average_precision()
            precision, recall, _ = histogram.precision_recall_curve()
            curves[f"{variant} (AP {100 * histogram.average_precision():.1f} %)"] = (recall, precision)
            for point in measured.points[test.name, variant]:
                count = histogram.confusion_at(point.threshold)
                if variant == self.primary and count.recall is not None and count.precision is not None:
                    marks[point.name] = (count.recall, count.precision)
        said = f", {measured.contrast}" if measured.contrast else ""
        title = f"{test.name} ({len(collector.of_group(test.group))} scans{said}); marks: thresholds of {self.primary}"
        figure = precision_recall_figure(curves, marks, chance, title)
        save_figure(figure, folder / f"precision_recall_{test.name}.png")

    def _draw_healthy(self, collector: MapCollector, plan: EvaluationPlan, folder: Path) -> None:
        values, anomalous = [], []
        for case in collector.of_group(plan.healthy_calibration):
            values.append(collector.volume(case, self.primary)[collector.volume(case, "mask") > 0])
        for test in plan.test_plans:
            for case in collector.of_group(test.group):
                anomalous.append(collector.volume(case, self.primary)[collector.volume(case, "seg") > 0])
        healthy = np.concatenate(values)
        edges = np.linspace(0, float(max(np.concatenate([healthy, *anomalous]).max(), 1e-6)), _BINS + 1)
        counts, _ = np.histogram(healthy, edges)
        found, _ = np.histogram(np.concatenate(anomalous), edges) if anomalous else (None, None)
        thresholds = {point.name: point.threshold for point in healthy_points(collector, plan, self.primary)}
        scans = f"{len(values)} healthy scans ({plan.healthy_calibration}), {len(anomalous)} patients"
        figure = healthy_histogram_figure(edges, counts, thresholds, found, f"{self.primary}: {scans}")
        save_figure(figure, folder / "healthy_histogram.png")

    @staticmethod
    def _draw_sweep(measured: Measurements, folder: Path) -> None:
        sweep, ensemble, residual = {}, {}, {}
        sigmas: list[float] = []
        for dataset, block in measured.summary["datasets"].items():
            dice = {}
            for variant, found in block["variants"].items():
                points = found["operating_points"]
                point = points.get("tuned") or points.get(ORACLE)
                if point and point["per_case"]["dice"]["mean"] is not None:
                    dice[variant] = point["per_case"]["dice"]["mean"]
            widths = sorted(float(v[5:]) for v in dice if v.startswith("ssim_") and v[5:].replace(".", "").isdigit())
            if not widths or "ssim_ens" not in dice:
                continue
            sigmas, sweep[dataset] = widths, [dice[f"ssim_{width:g}"] for width in widths]
            ensemble[dataset] = dice["ssim_ens"]
            residual[dataset] = dice.get("l1", float("nan"))
        if sweep:
            save_figure(sigma_sweep_figure(sigmas, sweep, ensemble, residual), folder / "sigma_sweep.png")


def _exceeded_by(collector: MapCollector, variant: str, group: str, share: float = 0.001) -> float:
    """Return the score that the given share of the voxels in the brains of a group exceeds."""
    histogram = collector.brain[variant, group]
    above = histogram.above().sum(axis=0) / max(histogram.total_normal + histogram.total_anomalous, 1)
    return float(histogram.thresholds()[int((above > share).sum())])
