# SPDX-License-Identifier: Apache-2.0
"""Write what an evaluation found: ``metrics.json``, ``per_case.csv``, ``calibration.json``, ``report.md``.

``metrics.json`` begins with the protocol: two results may stand in one table only if theirs agree (see
:func:`protocol_key`). ``calibration.json`` is what inference needs of it: thresholds, healthy quantiles, and the
reference by which scans of another contrast are recognised.
"""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.digests import file_sha256, write_checked_json
from ..core.files import atomic_write_json, atomic_write_text
from ..preparation.quality import build_reference
from .collector import MapCollector
from .markdown import markdown_report
from .measure import Measurements, Measurer
from .operating_points import healthy_points
from .plan import EvaluationPlan

COMPARED = ("data", "contrast", "preparation", "postprocessing", "plan", "spacing_mm")
QUANTILE_LEVELS = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
RECONSTRUCTION = ("t_test", "chain_steps", "draws", "coherence_slices")


class EvaluationReport:
    """Reporter of :class:`~custom.evaluation.scoring_handler.AnomalyScoringHandler`.

    Args:
        measurer: computes the measurements.
        folder: where the files go.
        protocol: JSON values that say how the result was made; the plan, scores, post-processings and the data's
            digest are added.
        primary: variant that ``engine.state.metrics`` and the calibration speak of.
        figures: callables ``figure(collector, plan, measurements, folder)`` that write pictures.
        calibration_folder: where ``calibration.json`` goes too (the model's folder); None: only ``folder``.
    """

    def __init__(
        self,
        measurer: Measurer,
        folder: str | Path,
        protocol: Mapping[str, Any],
        primary: str,
        figures: Sequence[Any] = (),
        calibration_folder: str | Path | None = None,
    ) -> None:
        self.measurer = measurer
        self.folder = Path(folder)
        self.protocol = dict(protocol)
        self.primary = primary
        self.figures = figures
        self.calibration_folder = Path(calibration_folder) if calibration_folder else None

    def __call__(self, collector: MapCollector, plan: EvaluationPlan) -> dict[str, float]:
        """Write all files and return the headline numbers, ``<data set>/<variant>/<operating point>/dice``."""
        measured = self.measurer(collector, plan)
        measured.contrast = str(self.protocol.get("contrast", ""))
        protocol = self.protocol | {
            "plan": plan.describe(),
            "scores": list(collector.variants),
            "postprocessing": {name: chain.describe() for name, chain in collector.postprocessings.items()},
            "spacing_mm": list(collector.spacing_mm),
            "data": data_digest(collector),
        }
        protocol["key"] = protocol_key(protocol)
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(self.folder / "per_case.csv", rows_to_csv(measured.rows))
        rows_sha256 = file_sha256(self.folder / "per_case.csv")
        metrics = {"protocol": protocol, **measured.summary, "per_case_sha256": rows_sha256}
        write_checked_json(self.folder / "metrics.json", metrics)
        calibration = calibration_of(collector, plan, self.primary, measured) | {
            "protocol_key": protocol["key"],
            "contrast": protocol.get("contrast"),
            "reconstruction": {name: protocol[name] for name in RECONSTRUCTION if name in protocol},
        }
        for folder in filter(None, (self.folder, self.calibration_folder)):
            atomic_write_json(folder / "calibration.json", calibration)
        for figure in self.figures:
            figure(collector, plan, measured, self.folder / "figures")
        pictures = sorted(str(path.relative_to(self.folder)) for path in (self.folder / "figures").rglob("*.png"))
        text = markdown_report(protocol, measured.summary, self.primary, pictures)
        atomic_write_text(self.folder / "report.md", text)
        return headline(measured.summary)


def data_digest(collector: MapCollector) -> dict[str, str]:
    """Return a sha256 of the images and truths of every group; other scans or another preparation change it."""
    digests: dict[str, Any] = {}
    for case in sorted(collector.cases, key=lambda c: (c.group, c.case_id)):
        digest = digests.setdefault(case.group, hashlib.sha256())
        digest.update(case.case_id.encode())
        for name in ("image", "seg"):
            digest.update(np.ascontiguousarray(collector.volume(case, name)).tobytes())
    return {group: digest.hexdigest() for group, digest in digests.items()}


def protocol_key(protocol: Mapping[str, Any]) -> str:
    """Return a hash of the parts of a protocol that must be equal for results to be comparable."""
    compared = {name: protocol.get(name) for name in COMPARED}
    return hashlib.sha256(json.dumps(compared, sort_keys=True, default=str).encode()).hexdigest()[:16]


def rows_to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV with the union of their columns, in order of first appearance; None is empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: ("" if v is None else v) for k, v in row.items()} for row in rows)
    return stream.getvalue()


def calibration_of(
    collector: MapCollector, plan: EvaluationPlan, primary: str, measured: Measurements
) -> dict[str, Any]:
    """Return thresholds and healthy statistics of the primary variant for inference."""
    cases = collector.of_group(plan.healthy_calibration)
    levels = np.asarray(QUANTILE_LEVELS)
    histogram = collector.brain[primary, plan.healthy_calibration]
    quantiles = [histogram.normal_quantile_threshold(1 - level) for level in levels]
    scans = [(collector.volume(case, "image"), collector.volume(case, "mask")) for case in cases]
    tuned = {
        dataset: point.threshold
        for (dataset, variant), points in measured.points.items()
        for point in points
        if variant == primary and point.name == "tuned"
    }
    return {
        "score": primary,
        "postprocessing": collector.postprocessing_of(primary).describe(),
        "thresholds": {p.name: p.threshold for p in healthy_points(collector, plan, primary)} | {"tuned": tuned},
        "healthy_scans": len(cases),
        "healthy_quantiles": {"levels": levels.tolist(), "scores": quantiles},
        "reference": build_reference(scans) if len(scans) >= 3 else {},
        "spacing_mm": list(collector.spacing_mm),
    }


def headline(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the flat numbers that a tracker stores."""
    flat: dict[str, float] = {}
    for dataset, block in summary["datasets"].items():
        for variant, found in block["variants"].items():
            flat[f"{dataset}/{variant}/average_precision"] = found["pooled"]["average_precision"]
            for name, point in found["operating_points"].items():
                flat[f"{dataset}/{variant}/{name}/dice"] = point["per_case"]["dice"]["mean"]
    return {name: float(value) for name, value in flat.items() if value is not None}
