# SPDX-License-Identifier: Apache-2.0
"""Three of the four rules by which boxes on NOVA are scored; the fourth is COCO's (:mod:`.table`).

``released_script``  the script of Patrício et al. (arXiv 2406.00772): the five largest boxes, by area; pixels counted at both
    ends; a box can only hit the reader's box that it overlaps most. The average precision of a picture is the mean of the
    precision at its hits, so *missed boxes cost nothing*; 0 without a hit. Recall is their "ACC@50".
``eleven_point``  by score, all boxes, each takes the best free reader's box; per picture the 11-point interpolated average
    precision over recall (the rule of PASCAL VOC 2007 within one picture). A picture without any box is right (1).
    "ACC50" is the share of pictures with a hit.
``image_hits``  the share of pictures in which any box reaches the overlap (WALDO).

All are means over pictures, in [0, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from .boxes import Boxes, overlap

Pictures = Mapping[str, Boxes]
_LARGEST = 5
_RECALLS = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class Counts:
    """What a rule counted at one overlap: boxes that hit and that did not, readers' boxes, pictures with a hit and all.

    ``average_precision`` is the mean over pictures.

    >>> truth = {"a.png": Boxes.of([(0, 0, 10, 10)]), "b.png": Boxes.of([(5, 5, 10, 10)])}
    >>> predicted = {"a.png": Boxes.of([(1, 1, 10, 10)], scores=[0.9]), "b.png": Boxes.of([])}
    >>> counts = eleven_point(predicted, truth, least=0.5)
    >>> counts.true_positives, counts.recall, counts.share_of_pictures
    (1, 0.5, 0.5)
    """

    average_precision: float
    true_positives: int
    false_positives: int
    true_boxes: int
    pictures_hit: int
    pictures: int

    @property
    def recall(self) -> float:
        """Hits per reader's box; "ACC@50" of the released script at overlap 0.5."""
        return self.true_positives / self.true_boxes if self.true_boxes else 0.0

    @property
    def share_of_pictures(self) -> float:
        """Share of pictures with a hit; "ACC50" of the 11-point rule."""
        return self.pictures_hit / self.pictures if self.pictures else 0.0

    @property
    def threat_score(self) -> float:
        """Hits per hit, false box and missed box, TP / (TP + FP + FN); a third evaluator's "ACC50"."""
        return self.true_positives / max(1, self.false_positives + self.true_boxes)


def released_script(predicted: Pictures, true: Pictures, least: float) -> Counts:
    """Score by the released script of Patrício et al. (see above) at overlap ``least``."""
    precisions, matches = [], []
    for name, wanted in true.items():
        boxes = boxes_of(predicted, name)
        boxes = boxes.chosen(np.argsort(-boxes.areas, kind="stable")[:_LARGEST])
        hit = hits(overlap(boxes, wanted, inclusive=True), least, only_best=True)
        precision = np.cumsum(hit) / (np.arange(1, len(hit) + 1) + 1e-6)
        precisions.append(float(precision[hit].mean()) if hit.any() else 0.0)
        matches.append(hit)
    return _counts(precisions, matches, true)


def eleven_point(predicted: Pictures, true: Pictures, least: float) -> Counts:
    """Score by 11-point interpolation within each picture (see above) at overlap ``least``."""
    precisions, matches = [], []
    for name, wanted in true.items():
        boxes = boxes_of(predicted, name)
        boxes = boxes.chosen(np.argsort(-boxes.scores, kind="stable"))
        hit = hits(overlap(boxes, wanted), least, only_best=False)
        matches.append(hit)
        if not len(wanted):
            precisions.append(float(not len(boxes)))
            continue
        precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
        recall = np.cumsum(hit) / len(wanted)
        precisions.append(float(np.mean([max(precision[recall >= level - 1e-12], default=0.0) for level in _RECALLS])))
    return _counts(precisions, matches, true)


def image_hits(predicted: Pictures, true: Pictures, least: float) -> Counts:
    """Count pictures in which any box reaches the overlap ``least``; its average precision is their share."""
    matches = [
        hits(overlap(boxes_of(predicted, name), wanted), least, only_best=False) for name, wanted in true.items()
    ]
    return _counts([float(hit.any()) for hit in matches], matches, true)


def boxes_of(predicted: Pictures, name: str) -> Boxes:
    """Return the boxes predicted for a picture; none at all is an error, an empty list is not."""
    if name not in predicted:
        raise DataError("there is no prediction for this picture; an empty list of boxes is one.", case=name)
    return predicted[name]


def hits(overlaps: NDArray[np.float64], least: float, only_best: bool) -> NDArray[np.bool_]:
    """Say for each box, in the order given, whether it is a true positive; a reader's box is hit once.

    Args:
        overlaps: ``[predicted, true]``.
        least: overlap from which on a box is a hit.
        only_best: a box can only hit the reader's box that it overlaps most; if an earlier box took that, it is a false
            positive. Otherwise it takes the best of those that are still free.

    >>> hits(np.array([[0.9, 0.0], [0.6, 0.5]]), 0.5, only_best=True), hits(np.array([[0.9, 0.0], [0.6, 0.5]]), 0.5, only_best=False)
    (array([ True, False]), array([ True,  True]))
    """
    free = np.ones(overlaps.shape[1], dtype=bool)
    result = np.zeros(len(overlaps), dtype=bool)
    for number, row in enumerate(overlaps if overlaps.shape[1] else ()):
        best = int(np.argmax(row if only_best else np.where(free, row, -1.0)))
        if free[best] and row[best] >= least:
            free[best] = False
            result[number] = True
    return result


def _counts(precisions: list[float], matches: list[NDArray[np.bool_]], true: Pictures) -> Counts:
    found = sum(int(hit.sum()) for hit in matches)
    return Counts(
        average_precision=float(np.mean(precisions)) if precisions else 0.0,
        true_positives=found,
        false_positives=sum(len(hit) for hit in matches) - found,
        true_boxes=sum(len(boxes) for boxes in true.values()),
        pictures_hit=sum(bool(hit.any()) for hit in matches),
        pictures=len(true),
    )
