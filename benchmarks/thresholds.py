# SPDX-License-Identifier: Apache-2.0
"""Best-Dice threshold and average precision: streaming histogram against scikit-learn and the interval search."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.harness import Candidate, Subject, peer
from benchmarks.phantoms import WORKING_GRID, head
from custom.metrics import ScoreHistogram, best_dice_threshold, interval_search
from custom.scoring import SSIMEnsemble


def subjects(volumes: int = 10, shape: tuple[int, int, int] = WORKING_GRID) -> Sequence[Subject]:
    """Return the curves of ``volumes`` labelled maps (every tenth is the same)."""
    score = SSIMEnsemble([0.9, 1.5])
    maps, truths = [], []
    for number in range(min(volumes, 10)):
        image, reconstruction, mask, lesion = head(number, shape)
        maps.append((score(image, reconstruction) * mask).numpy())
        truths.append(lesion.numpy())
    maps, truths = ([part[number % 10] for number in range(volumes)] for part in (maps, truths))

    def histogram() -> ScoreHistogram:
        found = ScoreHistogram()
        for scores, truth in zip(maps, truths, strict=True):
            found.update(scores, truth)
        return found

    def ours() -> dict[str, float]:
        found = histogram()
        return {"dice": found.best_dice()[1], "ap": found.average_precision(), "auroc": found.auroc()}

    def flat() -> tuple[Any, Any]:
        return np.concatenate([t.ravel() for t in truths]), np.concatenate([m.ravel() for m in maps])

    def sklearn(module: Any) -> Candidate:
        def run() -> dict[str, float]:
            labels, scores = flat()
            precision, recall, _ = module.precision_recall_curve(labels, scores)
            dice = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
            return {
                "dice": dice.max(),
                "ap": module.average_precision_score(labels, scores),
                "auroc": module.roc_auc_score(labels, scores),
            }

        def deviation(result: Any, own: Any) -> float:
            return max(abs(result[key] - own[key]) for key in own)

        return Candidate("scikit-learn: PRC, AP, ROC", run, deviation, 2e-4, "dice, AP and AUROC")

    def short_of_ours(result: tuple[float, float], own: tuple[float, float]) -> float:
        return own[1] - result[1]

    def above_exact(result: tuple[float, float], own: tuple[float, float]) -> float:
        return result[1] - own[1]

    def halving_over_all_voxels() -> tuple[float, float]:
        labels, scores = flat()
        labels, total = labels > 0, int(labels.sum())

        def dice_at(threshold: float) -> float:
            binary = scores > threshold
            return float(2 * (binary & labels).sum() / (binary.sum() + total))

        low, high, probes = 0.0, float(scores.max()), {}
        for _ in range(10):
            below, above = ((1 - share) * low + share * high for share in (0.25, 0.75))
            probes |= {below: dice_at(below), above: dice_at(above)}
            middle = (low + high) / 2
            low, high = (low, middle) if probes[below] >= probes[above] else (middle, high)
        return max(probes.items(), key=lambda item: item[1])

    curves = Subject(
        f"Best Dice, AP and AUROC together, {volumes} volumes",
        [
            Candidate("ours: one streaming histogram", ours),
            peer("sklearn.metrics", "scikit-learn: PRC, AP, ROC", sklearn),
        ],
        3,
        "at least 50x scikit-learn, within 1e-4",
    )
    search = Subject(
        f"Threshold search, {volumes} volumes",
        [
            Candidate("ours: streaming histogram", lambda: histogram().best_dice()),
            Candidate("ours: exact, with the histogram", lambda: best_dice_threshold(maps, truths), above_exact, 1e-4, "Dice that the histogram lacks"),
            Candidate(
                "interval halving, every probe over all voxels", halving_over_all_voxels, short_of_ours, 1.0,
                "the papers' way; Dice below ours: it assumes a curve with one hump",
            ),
            Candidate(
                "interval halving over sorted-out voxels, ours", lambda: interval_search(maps, truths), short_of_ours, 1.0,
                "same search, voxels above 0 only, by class",
            ),
        ],
        3,
        "at least 7x the papers' way at 1 volume and 15x at 100, within 1e-4 Dice of the optimum",
    )  # fmt: skip
    return [curves, search]
