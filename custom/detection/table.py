# SPDX-License-Identifier: Apache-2.0
"""Boxes scored by all rules side by side."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..core.errors import ConfigError, DataError
from .coco import coco_average_precision
from .rules import Counts, Pictures, eleven_point, image_hits, released_script

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_RULES: Mapping[str, Callable[[Pictures, Pictures, float], Counts]] = {
    "released_script": released_script,
    "eleven_point": eleven_point,
    "image_hits": image_hits,
}


def evaluate(predicted: Pictures, true: Pictures, subset: str = "all") -> list[dict[str, Any]]:
    """Return one row per rule; each says its rule, subset, number of pictures and of readers' boxes.

    Args:
        predicted: picture -> boxes with scores; an empty ``Boxes`` where nothing was marked.
        true: picture -> boxes of the readers.
        subset: which pictures these are, in words.

    Columns: ``map_30``, ``map_50``, ``map_50_95`` (mean over 0.50, 0.55, ... 0.95), in [0, 1]; hits and false boxes at
    overlap 0.3; and at 0.5 the three things that are called "ACC50": ``recall_50``, ``pictures_hit_50``, ``threat_score_50``.
    COCO's row has only the first three, or, without ``pycocotools``, the reason in ``note``.
    """
    if not true:
        raise DataError("there is no picture with boxes of readers; nothing can be scored.")
    head = {"subset": subset, "pictures": len(true), "true_boxes": sum(map(len, true.values()))}
    rows: list[dict[str, Any]] = []
    for name, rule in _RULES.items():
        at = {least: rule(predicted, true, least) for least in (0.3, *THRESHOLDS)}
        rows.append(
            {
                "rule": name, **head,
                "map_30": at[0.3].average_precision, "map_50": at[0.5].average_precision,
                "map_50_95": float(np.mean([at[least].average_precision for least in THRESHOLDS])),
                "true_positives_30": at[0.3].true_positives, "false_positives_30": at[0.3].false_positives,
                "recall_50": at[0.5].recall, "pictures_hit_50": at[0.5].share_of_pictures,
                "threat_score_50": at[0.5].threat_score,
            }
        )  # fmt: skip
    try:
        at_30, *others = coco_average_precision(predicted, true, (0.3, *THRESHOLDS))
    except ConfigError as error:
        return [*rows, {"rule": "coco", **head, "note": str(error)}]
    means = {"map_30": at_30, "map_50": others[0], "map_50_95": float(np.mean(others))}
    return [*rows, {"rule": "coco", **head, **means}]
