# SPDX-License-Identifier: Apache-2.0
"""Metrics of anomaly maps and of what is made of them: histograms, thresholds, ratios, lesions, uncertainty.

Arrays are numpy or torch, of one shape per call; scores are >= 0; a voxel is flagged if its score is ``>`` the
threshold. An undefined metric of a case (0/0, no lesion, one class missing) is ``None``, never NaN, 0 or 1, and is
counted where means are taken; an undefined *pooled* one (:class:`ScoreHistogram`) raises ``DataError``.
"""

from .aggregate import mean_std, summarise_cases
from .bootstrap import (
    MIN_SUBJECTS,
    bootstrap_ci,
    holm,
    paired_permutation_test,
    pooled_dice_ci,
    seed_of,
)
from .healthy import INDISCRIMINATE_FPR, healthy_summary, scan_auroc, scan_score
from .histogram import ScoreHistogram
from .lesions import CRITERION, LesionCounts, lesion_counts
from .ranking import UNINFORMATIVE, case_ranking, ranking_metrics
from .reconstruction import l1_ratio, reconstruction_metrics
from .segmentation import RATES, ConfusionCounts, confusion_counts
from .threshold import (
    best_dice_threshold,
    conformal_case_threshold,
    healthy_quantile_threshold,
    interval_search,
)

__all__ = [
    "CRITERION",
    "INDISCRIMINATE_FPR",
    "MIN_SUBJECTS",
    "RATES",
    "UNINFORMATIVE",
    "ConfusionCounts",
    "LesionCounts",
    "ScoreHistogram",
    "best_dice_threshold",
    "bootstrap_ci",
    "case_ranking",
    "conformal_case_threshold",
    "confusion_counts",
    "healthy_quantile_threshold",
    "healthy_summary",
    "holm",
    "interval_search",
    "l1_ratio",
    "lesion_counts",
    "mean_std",
    "paired_permutation_test",
    "pooled_dice_ci",
    "ranking_metrics",
    "reconstruction_metrics",
    "scan_auroc",
    "scan_score",
    "seed_of",
    "summarise_cases",
]
