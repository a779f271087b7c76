# SPDX-License-Identifier: Apache-2.0
"""Metrics of anomaly maps, segmentations and reconstructions, thresholds, and their uncertainty over subjects."""

from .histogram import ScoreHistogram
from .lesions import LesionCounts, LesionMatcher
from .reconstruction import reconstruction_metrics
from .resampling import bootstrap_mean, bootstrap_pooled_dice, paired_permutation_test
from .segmentation import ConfusionCounts
from .threshold import best_dice_threshold, interval_search

__all__ = [
    "ConfusionCounts",
    "LesionCounts",
    "LesionMatcher",
    "ScoreHistogram",
    "best_dice_threshold",
    "bootstrap_mean",
    "bootstrap_pooled_dice",
    "interval_search",
    "paired_permutation_test",
    "reconstruction_metrics",
]
