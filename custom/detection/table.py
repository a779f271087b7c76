# SPDX-License-Identifier: Apache-2.0
"""Boxes scored by all rules side by side; COCO's is computed by ``pycocotools`` (extra ``boxes``)."""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import ConfigError, DataError
from .rules import Counts, Pictures, boxes_of, eleven_point, image_hits, released_script

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


def coco_average_precision(predicted: Pictures, true: Pictures, least: Sequence[float]) -> list[float]:
    """Return COCO's average precision at each of the overlaps ``least``, in [0, 1]: all pictures pooled, 101 points.

    Raises:
        ConfigError: ``pycocotools`` is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise ConfigError("the COCO rule needs pycocotools: pip install 'uad-brain-mri[boxes]'.") from None
    numbers = {name: number for number, name in enumerate(true, start=1)}
    annotations = [
        {"image_id": numbers[name], "bbox": box, "area": box[2] * box[3], "category_id": 1, "iscrowd": 0}
        for name, boxes in true.items() for box in boxes.as_xywh()
    ]  # fmt: skip
    results = []
    for name, number in numbers.items():
        boxes = boxes_of(predicted, name)
        results += [
            {"image_id": number, "bbox": box, "score": score, "category_id": 1}
            for box, score in zip(boxes.as_xywh(), boxes.scores.tolist(), strict=True)
        ]
    if not results or not annotations:
        return [0.0] * len(least)
    with contextlib.redirect_stdout(io.StringIO()):  # it reports on the screen what nobody asked
        truth = COCO()
        truth.dataset = {
            "images": [{"id": number} for number in numbers.values()],
            "annotations": [{"id": number, **a} for number, a in enumerate(annotations, start=1)],
            "categories": [{"id": 1}], "info": {},
        }  # fmt: skip
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.iouThrs = np.asarray(least, dtype=np.float64)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, 0, 0, -1]  # [overlap, recall], all areas, 100 boxes a picture
    return [float(row.mean()) for row in np.where(precision < 0, 0.0, precision)]
