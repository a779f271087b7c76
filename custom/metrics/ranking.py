# SPDX-License-Identifier: Apache-2.0
"""Average precision and AUROC of one anomaly map against its truth: exact, ties as in scikit-learn.

Both need only how many normal and anomalous scores lie at or above each *anomalous* score, so the two classes are
sorted apart, as plain numbers, and searched; exact zeros (the background) are counted, not sorted. Average precision is
the step-function area Σ (R_k - R_{k-1}) P_k, i.e. the mean over anomalous voxels of the precision at their score.
A map without anomalous voxels has neither, one without normal voxels no AUROC: ``None``. Checked against scikit-learn.
"""

import numpy as np

from .arrays import Array, inside, to_scores

UNINFORMATIVE = "uninformative"  # name of a map that is 1 in the evaluated region and 0 outside: what a score must beat


def ranking_metrics(anomaly_map: Array, truth: Array, region: Array | None = None) -> dict[str, float | None]:
    """Return ``{"average_precision", "auroc"}`` over the voxels of ``region`` (None: all); arguments of one shape."""
    scores, labels = inside(to_scores(anomaly_map), truth, region)
    nonzero = scores != 0
    positives, negatives = np.sort(scores[labels & nonzero]), np.sort(scores[~labels & nonzero])
    n_positive = int(np.count_nonzero(labels))
    n_negative = labels.size - n_positive
    if not n_positive:
        return {"average_precision": None, "auroc": None}
    levels, copies = np.unique(positives, return_counts=True)
    if n_positive > positives.size:  # anomalous voxels with a score of 0
        place = int(np.searchsorted(levels, 0))
        levels, copies = np.insert(levels, place, 0), np.insert(copies, place, n_positive - positives.size)
    zero_negatives = n_negative - negatives.size
    below = np.searchsorted(negatives, levels, side="left") + zero_negatives * (levels > 0)
    up_to = np.searchsorted(negatives, levels, side="right") + zero_negatives * (levels >= 0)
    tp = copies[::-1].cumsum()[::-1]
    average_precision = float((copies * (tp / (tp + n_negative - below))).sum() / n_positive)
    wins = float((copies * (0.5 * (below + up_to))).sum())
    return {"average_precision": average_precision, "auroc": wins / (n_positive * n_negative) if n_negative else None}


def case_ranking(anomaly_map: Array, truth: Array, brain_mask: Array) -> dict[str, float | None]:
    """Return both metrics of a volume over the whole grid and, with the suffix ``_brain``, inside the brain mask.

    The background is easy (score 0, no lesion): it raises AUROC a lot and average precision hardly.
    """
    brain = ranking_metrics(anomaly_map, truth, brain_mask)
    return {**ranking_metrics(anomaly_map, truth), **{f"{name}_brain": value for name, value in brain.items()}}
