# SPDX-License-Identifier: Apache-2.0
"""Sums and means of what was measured case by case."""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

from ..metrics import (
    INDISCRIMINATE_FPR,
    MIN_SUBJECTS,
    UNINFORMATIVE,
    ConfusionCounts,
    LesionCounts,
    pooled_dice_ci,
    seed_of,
    summarise_cases,
)
from .operating_points import OperatingPoint

Row = dict[str, Any]
VOID = (
    f"none: the threshold marks more than {INDISCRIMINATE_FPR:.0%} of the healthy brain, so nothing is detected by it"
)


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Return mean, spread and interval over cases of every number in ``rows``, which have a ``case_id`` each."""
    return dict(summarise_cases(rows, seed=seed_of([row["case_id"] for row in rows])))


def pooled_rates(counts: Sequence[ConfusionCounts], names: Sequence[str]) -> dict[str, Any]:
    """Return the rates of the voxels of all cases together, and an interval of Dice where there are cases enough.

    Args:
        counts: of each case.
        names: of the cases.
    """
    if not counts:
        return {}
    found = reduce(add, counts).rates()
    if found["dice"] is None or len(counts) < MIN_SUBJECTS:
        return found
    interval = pooled_dice_ci(counts, seed=seed_of(names))
    return found | {"dice_ci_low": interval.low, "dice_ci_high": interval.high}


def lesion_wise(lesions: Sequence[LesionCounts], point: OperatingPoint) -> dict[str, Any]:
    """Return recall and precision over the lesions of all cases; void under a threshold that marks most of the brain."""
    if not lesions:
        return {}
    void = point.is_indiscriminate
    return {**reduce(add, lesions).as_dict(void=void), **({"void": VOID} if void else {})}


def compare_with_uninformative(variants: dict[str, Any]) -> None:
    """Add the multiples of the uninformative map's average precision under the same post-processing, in place."""
    for variant, measured in variants.items():
        _, at, chain = variant.partition("@")
        chance = variants[f"{UNINFORMATIVE}{at}{chain}"]
        pairs = [(measured["pooled"], chance["pooled"], "average_precision")]
        if "average_precision" in measured["per_case"]:
            pairs.append((*(block["per_case"]["average_precision"] for block in (measured, chance)), "mean"))
        for own, other, key in pairs:
            level, value = other[key], own[key]
            own["over_uninformative"] = value / level if level and value is not None else None
