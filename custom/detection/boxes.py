# SPDX-License-Identifier: Apache-2.0
"""Boxes of one picture, and how much two boxes overlap."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Boxes:
    """Boxes of one picture.

    Attributes:
        corners: ``[N, 4]``, left, top, right, bottom in pixels; a box ends before ``right`` and ``bottom``.
        scores: ``[N]``, larger is more certain; zeros where there are none (boxes of readers).

    >>> Boxes.of([(10, 20, 5, 5)]).corners.tolist()
    [[10.0, 20.0, 15.0, 25.0]]
    """

    corners: Array
    scores: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        corners = np.asarray(self.corners, dtype=np.float64).reshape(-1, 4)
        scores = np.asarray(self.scores, dtype=np.float64).reshape(-1)
        scores = scores if len(scores) or not len(corners) else np.zeros(len(corners))
        if len(scores) != len(corners):
            raise DataError(f"{len(corners)} boxes have {len(scores)} scores; each box needs one.")
        if not np.isfinite(corners).all() or not np.isfinite(scores).all():
            raise DataError("a box has a coordinate or a score that is not a number; correct the file of boxes.")
        if (corners[:, 2:] <= corners[:, :2]).any():
            raise DataError("a box has no width or no height; correct the file of boxes.")
        object.__setattr__(self, "corners", corners)
        object.__setattr__(self, "scores", scores)

    @classmethod
    def of(cls, boxes: Sequence[Sequence[float]], scores: Any = ()) -> "Boxes":
        """Return boxes given as ``(x, y, width, height)``, x and y of the left upper corner."""
        values = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        return cls(np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1), np.asarray(scores))

    def __len__(self) -> int:
        return len(self.corners)

    @property
    def areas(self) -> Array:
        """Areas ``[N]`` in square pixels."""
        return np.asarray(np.prod(self.corners[:, 2:] - self.corners[:, :2], axis=1))

    def chosen(self, index: Any) -> "Boxes":
        """Return the boxes at ``index``, in that order."""
        return Boxes(self.corners[index], self.scores[index])

    def clipped(self, width: float, height: float) -> tuple["Boxes", int]:
        """Return what lies within a picture of ``width`` x ``height`` pixels, and how many boxes had to be changed.

        Boxes of readers may begin before 0 or end behind the edge; one that lies outside altogether is left out.
        """
        inside = np.clip(self.corners, 0, np.asarray([width, height, width, height], dtype=np.float64))
        changed = int((inside != self.corners).any(axis=1).sum())
        kept = (inside[:, 2:] > inside[:, :2]).all(axis=1)
        return Boxes(inside[kept], self.scores[kept]), changed

    def as_xywh(self) -> list[list[float]]:
        """Return the boxes as ``[x, y, width, height]``."""
        return [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in self.corners.tolist()]


def overlap(one: Boxes, other: Boxes, inclusive: bool = False) -> Array:
    """Return intersection over union ``[len(one), len(other)]``, in [0, 1].

    Args:
        one: boxes.
        other: boxes.
        inclusive: count the pixels of ``right`` and ``bottom`` too (+1 in every width and height), as old scripts do.

    >>> overlap(Boxes.of([(0, 0, 100, 100)]), Boxes.of([(0, 0, 100, 50)])).item()
    0.5
    """
    extra = float(inclusive)
    a, b = one.corners[:, None], other.corners[None]
    edges = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + extra
    intersection = np.prod(np.clip(edges, 0, None), axis=-1)
    area_a, area_b = (np.prod(box[..., 2:] - box[..., :2] + extra, axis=-1) for box in (a, b))
    return np.asarray(intersection / (area_a + area_b - intersection))
