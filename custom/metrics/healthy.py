# SPDX-License-Identifier: Apache-2.0
"""False alarms on healthy scans and detection at the level of a scan.

A radiologist without labels asks: how much is marked in a healthy brain, and how many healthy scans are marked at all?

Warning on scan-level AUROC: healthy scans and patients usually come from different data sets. Scanner, sequence and
preprocessing then tell them apart without any lesion, and an AUROC near 1 may be a detector of *scanners*. Report it
within one site where possible (:func:`scan_auroc` with ``sites``) and never as evidence by itself.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from ..core.errors import ConfigError, DataError
from .arrays import Array, inside, to_mask, to_scores
from .ranking import ranking_metrics

INDISCRIMINATE_FPR = 0.2  # a threshold that marks a larger share of healthy brains says nothing


def false_positive_ml(prediction: Array, spacing_mm: Sequence[float], region: Array | None = None) -> float:
    """Return the flagged volume of a healthy scan in ml (1 ml = 1000 mm³), inside ``region`` if given."""
    predicted = to_mask(prediction, name="prediction")
    if region is not None:
        predicted = predicted & to_mask(region, predicted.shape, "region")
    return int(np.count_nonzero(predicted)) * prod(spacing_mm) / 1000


def healthy_summary(volumes_ml: Sequence[float], min_ml: float = 0.0) -> dict[str, float]:
    """Summarise the false-positive volumes of healthy scans.

    Args:
        volumes_ml: one a scan.
        min_ml: a scan is flagged if more than this is marked.
    """
    volumes = to_scores(np.asarray(volumes_ml, dtype=np.float64), "list of false-positive volumes")
    if not volumes.size:
        raise DataError("False alarms are counted on healthy scans, and none was given.")
    return {
        "scans": float(volumes.size),
        "false_positive_ml_mean": float(volumes.mean()),
        "false_positive_ml_median": float(np.median(volumes)),
        "false_positive_ml_max": float(volumes.max()),
        "flagged_scans": float((volumes > min_ml).sum()),
        "flagged_rate": float((volumes > min_ml).mean()),
    }


def scan_score(anomaly_map: Array, brain_mask: Array, quantile: float | None = None) -> float:
    """Return one number for a scan: the mean score in the brain, or a ``quantile`` of it (1 = the maximum)."""
    scores = to_scores(anomaly_map)
    values = inside(scores, np.zeros(scores.shape, dtype=bool), brain_mask)[0]
    if not values.size:
        raise DataError("The brain mask is empty: the scan has no score. Check the mask of this case.")
    if quantile is None:
        return float(values.mean(dtype=np.float64))
    if not 0 <= quantile <= 1:
        raise ConfigError(f"A quantile lies between 0 and 1 (1 = maximum), got {quantile}.")
    return float(np.quantile(values, quantile))


def scan_auroc(
    scores: Sequence[float], labels: Sequence[int], sites: Sequence[str] | None = None
) -> dict[str, float | None]:
    """Return the scan-level AUROC under ``"all"`` and for each site (None where one class is missing).

    Read the warning at the top: ``"all"`` can be a scanner detector. Sites with only patients or only healthy scans
    give None; if all do, the number under ``"all"`` cannot be told from a difference between scanners.

    Args:
        scores: one a scan, see :func:`scan_score`.
        labels: 1 = patient, 0 = healthy.
        sites: scanner or site of each scan.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    result = {"all": ranking_metrics(values, truth)["auroc"]}
    names = np.asarray(sites if sites is not None else [])
    for site in sorted(set(names.tolist())):
        result[site] = ranking_metrics(values, truth, names == site)["auroc"]
    return result
