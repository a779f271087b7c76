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
    """Return the curves of ``volumes`` labelled maps."""
    score = SSIMEnsemble([0.9, 1.5])
    maps, truths = [], []
    for number in range(volumes):
        image, reconstruction, mask, lesion = head(number, shape)
        maps.append((score(image, reconstruction) * mask).numpy())
        truths.append(lesion.numpy())

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

    def short_of_exact(result: tuple[float, float], own: tuple[float, float]) -> float:
        return own[1] - result[1]

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
            Candidate("ours: exact best Dice", lambda: best_dice_threshold(maps, truths)),
            Candidate("ours: histogram only", lambda: histogram().best_dice(), short_of_exact, 1e-4, "Dice below the exact optimum"),
            Candidate(
                "interval search of the papers (our code of it)", lambda: interval_search(maps, truths), short_of_exact, 1.0,
                "Dice below the exact optimum; assumes a curve with one hump",
            ),
        ],
        3,
        "within 1e-4 Dice of the optimum (histogram)",
    )  # fmt: skip
    return [curves, search]
