# SPDX-License-Identifier: Apache-2.0
"""False alarms on healthy scans and detection at the level of a scan.

A radiologist without labels asks: how much is marked in a healthy brain, and how many healthy scans are marked at all?

Warning on scan-level AUROC: healthy scans and patients usually come from different data sets. Scanner, sequence and
preprocessing then tell them apart without any lesion, and an AUROC near 1 may be a detector of *scanners*. Report it
within one site where possible, and never as evidence by itself.
"""

from collections.abc import Sequence

import numpy as np

from ..core.errors import DataError
from .arrays import Array, to_mask, to_scores
from .ranking import ranking_metrics

INDISCRIMINATE_FPR = 0.2  # a threshold that marks a larger share of healthy brains says nothing


def healthy_summary(volumes_ml: Sequence[float]) -> dict[str, float]:
    """Summarise the false-positive volumes of healthy scans, one a scan; a scan is flagged if anything is marked."""
    volumes = to_scores(np.asarray(volumes_ml, dtype=np.float64), "list of false-positive volumes")
    if not volumes.size:
        raise DataError("False alarms are counted on healthy scans, and none was given.")
    return {
        "scans": float(volumes.size),
        "false_positive_ml_mean": float(volumes.mean()),
        "false_positive_ml_median": float(np.median(volumes)),
        "false_positive_ml_max": float(volumes.max()),
        "flagged_scans": float((volumes > 0).sum()),
        "flagged_rate": float((volumes > 0).mean()),
    }


def scan_score(anomaly_map: Array, brain_mask: Array) -> float:
    """Return one number for a scan: the mean score in the brain."""
    scores = to_scores(anomaly_map)
    values = scores[to_mask(brain_mask, scores.shape, "region")]
    if not values.size:
        raise DataError("The brain mask is empty: the scan has no score. Check the mask of this case.")
    return float(values.mean(dtype=np.float64))


def scan_auroc(scores: Sequence[float], labels: Sequence[int]) -> float | None:
    """Return the AUROC of one score a scan (see the warning at the top) for labels 1 = patient, 0 = healthy; None for one class."""
    return ranking_metrics(np.asarray(scores, dtype=np.float64), np.asarray(labels))["auroc"]
