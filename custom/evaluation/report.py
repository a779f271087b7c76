# SPDX-License-Identifier: Apache-2.0
"""Write what an evaluation found: ``metrics.json``, ``per_case.csv``, ``calibration.json``, ``report.md``.

``metrics.json`` begins with the protocol: two results may stand in one table only if theirs agree (see
:func:`protocol_key`). ``calibration.json`` is what predictions need of it, see :mod:`.calibrate`.
"""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.digests import file_sha256, write_checked_json
from ..core.files import atomic_write_text
from ..metrics import UNINFORMATIVE
from .calibrate import FILE_NAME, calibration_of
from .collector import MapCollector
from .markdown import markdown_report
from .measure import Measurer
from .plan import EvaluationPlan

COMPARED = ("data", "contrast", "preparation", "postprocessing", "plan", "spacing_mm")


@dataclass(eq=False)
class EvaluationReport:
    """Reporter of :class:`~custom.evaluation.scoring_handler.AnomalyScoringHandler`.

    Args:
        measurer: computes the measurements.
        folder: where the files go.
        protocol: JSON values that say how the result was made; the plan, scores, post-processings and the data's
            digest are added.
        primary: variant that ``engine.state.metrics`` and the calibration speak of.
        figures: callables ``figure(collector, plan, measurements, folder)`` that write pictures.
        reconstruction: settings of the reconstruction; they belong to the protocol and to the calibration.
        limit: number of scans a group that the evaluation was limited to, or None.

    >>> import tempfile
    >>> import torch
    >>> from custom.evaluation.spool import CaseInfo
    >>> from custom.postprocessing import none
    >>> from custom.scoring import l1
    >>> image, brain, lesion = torch.full((12, 12, 12), 0.5), torch.ones(12, 12, 12), torch.zeros(12, 12, 12)
    >>> lesion[2:4, 2:4, 2:4] = 1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     collector = MapCollector({"l1": l1}, {"none": none()}, f"{folder}/maps", spacing_mm=(2, 2, 2))
    ...     collector.add(CaseInfo("H1", "ixi/val", 0), image, image, brain, 0 * lesion)
    ...     collector.add(CaseInfo("P1", "ms/test", 1), image + 0.4 * lesion, image, brain, lesion)
    ...     report = EvaluationReport(Measurer(), folder, {"method": "ddpm", "contrast": "t1"}, primary="l1")
    ...     numbers = report(collector, EvaluationPlan({"ms/test": None}, "ixi/val"))
    ...     numbers["ms/oracle/dice"], sorted(path.name for path in Path(folder).glob("*.*"))
    (1.0, ['calibration.json', 'metrics.json', 'per_case.csv', 'report.md'])
    """

    measurer: Measurer
    folder: str | Path
    protocol: Mapping[str, Any]
    primary: str
    figures: Sequence[Any] = ()
    reconstruction: Mapping[str, Any] | None = None
    limit: int | None = None

    def __call__(self, collector: MapCollector, plan: EvaluationPlan) -> dict[str, float]:
        """Write all files and return the headline numbers of the primary score, ``<data set>/<operating point>/dice``."""
        folder = Path(self.folder)
        measured = self.measurer(collector, plan)
        measured.contrast = str(self.protocol.get("contrast", ""))
        protocol = {**self.protocol, **(self.reconstruction or {})} | {
            "plan": plan.describe(),
            "scores": list(collector.variants),
            "postprocessing": {name: chain.describe() for name, chain in collector.postprocessings.items()},
            "spacing_mm": list(collector.spacing_mm),
            "data": data_digest(collector),
        }
        protocol["key"] = protocol_key(protocol)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / "per_case.csv", rows_to_csv(measured.rows))
        rows_sha256 = file_sha256(folder / "per_case.csv")
        metrics = {"protocol": protocol, **measured.summary, "per_case_sha256": rows_sha256}
        write_checked_json(folder / "metrics.json", metrics)
        calibration = calibration_of(collector, plan, self.primary, measured, self.limit)
        numbers = headline(measured.summary, self.primary)
        origin = {"protocol_key": protocol["key"], "metrics": numbers, "weights_sha256": protocol.get("weights_sha256")}
        reconstruction = dict(self.reconstruction or {})
        write_checked_json(folder / FILE_NAME, {**calibration, **origin, "reconstruction": reconstruction})
        for figure in self.figures:
            figure(collector, plan, measured, folder / "figures")
        pictures = sorted(str(path.relative_to(folder)) for path in (folder / "figures").rglob("*.png"))
        text = markdown_report(protocol, measured.summary, self.primary, pictures)
        atomic_write_text(folder / "report.md", text)
        return numbers


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


def headline(summary: Mapping[str, Any], primary: str) -> dict[str, float]:
    """Return the few numbers that a tracker shows; all others stand in ``metrics.json``, which it keeps as a file.

    Args:
        summary: of the measurements.
        primary: score that they are of; the average precision of a map that knows nothing stands beside it.
    """
    flat: dict[str, float | None] = {}
    _, at, chain = primary.partition("@")
    chance = f"{UNINFORMATIVE}{at}{chain}"
    for dataset, block in summary["datasets"].items():
        for variant, name in ((primary, "average_precision"), (chance, "average_precision_of_uninformative_map")):
            if variant in block["variants"]:
                flat[f"{dataset}/{name}"] = block["variants"][variant]["pooled"]["average_precision"]
        for name, point in block["variants"].get(primary, {"operating_points": {}})["operating_points"].items():
            flat[f"{dataset}/{name}/dice"] = point["per_case"]["dice"]["mean"]
    return {name: float(value) for name, value in flat.items() if value is not None}
