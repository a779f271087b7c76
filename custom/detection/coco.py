# SPDX-License-Identifier: Apache-2.0
"""COCO's average precision of boxes, computed by ``pycocotools`` (extra ``boxes``): all pictures pooled, 101 points."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np

from ..core.errors import ConfigError
from .rules import Pictures, boxes_of


def coco_average_precision(predicted: Pictures, true: Pictures, least: Sequence[float]) -> list[float]:
    """Return the average precision at each of the overlaps ``least``, in [0, 1].

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
