# SPDX-License-Identifier: Apache-2.0
"""What an evaluation knows that predictions need: ``calibration.json`` in its own folder, and the act that makes it the model's.

An evaluation writes nothing into the model's folder. :func:`promote` copies its calibration there, unless the evaluation
was a trial: on a part of the scans, or without healthy scans to calibrate on.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ..core.description import describe
from ..core.digests import read_checked_json
from ..core.errors import ConfigError
from ..preparation.quality import build_reference
from ..runs.model_folder import ModelFolder
from .collector import MapCollector
from .measure import Measurements
from .operating_points import healthy_points
from .plan import EvaluationPlan

FILE_NAME = "calibration.json"
QUANTILE_LEVELS = (
    *(0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.9925, 0.995),
    *(0.9965, 0.998, 0.9985, 0.999, 0.9993, 0.9995, 0.9997, 0.9999),
)
MIN_REFERENCE_SCANS = 3
TYPICAL = "typical_"


def calibration_of(
    collector: MapCollector, plan: EvaluationPlan, primary: str, measured: Measurements, limit: int | None = None
) -> dict[str, Any]:
    """Return what inference needs: score, thresholds with their sources, healthy quantiles, reference.

    Args:
        collector: all maps.
        plan: which scans calibrate.
        primary: variant that the calibration is of.
        measured: thresholds tuned on labelled scans.
        limit: number of scans a group that the evaluation was limited to, which makes it a trial; None: it was not.
    """
    cases = collector.of_group(plan.healthy_calibration)
    levels = np.array(QUANTILE_LEVELS)
    histogram = collector.brain[primary, plan.healthy_calibration]
    quantiles = [histogram.normal_quantile_threshold(1 - level) for level in levels] if cases else []
    scans = [(collector.volume(case, "image"), collector.volume(case, "mask")) for case in cases]
    typical_first = sorted(
        healthy_points(collector, plan, primary) if cases else [], key=lambda point: not point.name.startswith(TYPICAL)
    )
    thresholds = {point.name: point for point in typical_first}  # the default is one that an odd scan does not move
    for (dataset, variant), points in measured.points.items():
        if variant == primary:
            thresholds |= {f"tuned/{dataset}": point for point in points if point.name == "tuned"}
    try:
        scoring = describe(collector.score_of(primary))
        foreign = None
    except ConfigError as error:  # a score of the user's own: measured like any other, but no release could build it
        scoring, foreign = None, str(error)
    trials = {f"--limit {limit}": limit is not None, "no healthy scans": not cases, str(foreign): foreign is not None}
    return {
        "score": primary.partition("@")[0],
        "scoring": scoring,
        "postprocessing": describe(collector.postprocessing_of(primary)),
        "spacing_mm": list(collector.spacing_mm),
        "thresholds": {name: {"value": p.threshold, "source": p.source} for name, p in thresholds.items()},
        "healthy_scans": len(cases),
        "healthy_error": _healthy_error(measured, plan.healthy_calibration),
        "healthy_quantiles": {"levels": levels.tolist() if cases else [], "scores": quantiles},
        "reference": build_reference(scans) if len(scans) >= MIN_REFERENCE_SCANS else {},
        "trial": ", ".join(name for name, is_so in trials.items() if is_so) or None,
    }


def _healthy_error(measured: Measurements, group: str) -> float | None:
    """Return the mean absolute difference of healthy scans from their reconstructions inside the brain, or None."""
    found = measured.summary["healthy"].get(group, {}).get("reconstruction", {}).get("l1_brain", {}).get("mean")
    return None if found is None else float(found)


def promote(model_dir: str | Path, evaluation_dir: str | Path, wanted: bool = True) -> ModelFolder | None:
    """Make the calibration of an evaluation that of the model.

    Args:
        model_dir: folder of the model.
        evaluation_dir: folder of a finished evaluation of it.
        wanted: False does nothing, so that a configuration can leave it to a setting.

    Raises:
        ConfigError: no finished evaluation, a damaged one, a trial, or one of other weights.
    """
    if not wanted:
        return None
    calibration = read_checked_json(Path(evaluation_dir) / FILE_NAME, "run the evaluation of this model again.")
    return ModelFolder.read(model_dir).promote(calibration)
