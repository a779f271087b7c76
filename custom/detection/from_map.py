# SPDX-License-Identifier: Apache-2.0
"""From an anomaly map to boxes: threshold, connected components, size filter, a score for each box."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.errors import ConfigError, DataError
from .boxes import Boxes

_NEIGHBOURS = {4: ndimage.generate_binary_structure(2, 1), 8: ndimage.generate_binary_structure(2, 2)}


@dataclass(frozen=True)
class MapToBoxes:
    """Callable ``(anomaly_map [X, Y], threshold) -> Boxes``, one box per component of what lies above the threshold.

    Args:
        neighbours: 4 or 8 neighbours of a pixel.
        smallest_px: components with fewer pixels are left out.
        most_boxes: how many boxes stay, the first by ``order``; null for all.
        order: boxes in falling order of ``"score"`` or ``"area"`` of the box.
        score: ``"max"`` or ``"mean"`` of the map within the component.
        fixed_threshold: used where no threshold is given.

    ``MapToBoxes.published()`` is the rule of the released code of Patrício et al. (arXiv 2406.00772) for NOVA: |x - x̂| > 0.5,
    4 neighbours, no size filter; their script scores the five boxes of the largest area.

    >>> anomaly_map = np.zeros((8, 6))
    >>> anomaly_map[2:5, 1:3] = 0.75
    >>> MapToBoxes()(anomaly_map, threshold=0.5)
    Boxes(corners=array([[2., 1., 5., 3.]]), scores=array([0.75]))
    """

    neighbours: Literal[4, 8] = 8
    smallest_px: int = 1
    most_boxes: int | None = None
    order: Literal["score", "area"] = "score"
    score: Literal["max", "mean"] = "max"
    fixed_threshold: float | None = None

    def __post_init__(self) -> None:
        if (
            self.neighbours not in _NEIGHBOURS
            or self.order not in ("score", "area")
            or self.score not in ("max", "mean")
        ):
            raise ConfigError(
                "MapToBoxes takes neighbours 4 or 8, order 'score' or 'area' and score 'max' or 'mean', got "
                f"{self.neighbours}, {self.order!r} and {self.score!r}."
            )
        if self.smallest_px < 1 or (self.most_boxes is not None and self.most_boxes < 1):
            raise ConfigError("MapToBoxes takes smallest_px >= 1 and most_boxes >= 1 or null.")

    @classmethod
    def published(cls) -> "MapToBoxes":
        """Return the rule of the released code."""
        return cls(neighbours=4, most_boxes=5, order="area", fixed_threshold=0.5)

    def __call__(self, anomaly_map: NDArray[np.floating], threshold: float | None = None) -> Boxes:
        """Return the boxes of a map; x is its first axis, y its second.

        Raises:
            ConfigError: no threshold at all.
            DataError: the map is not two-dimensional or holds values that are no numbers.
        """
        limit = self.fixed_threshold if threshold is None else threshold
        if limit is None:
            raise ConfigError("boxes need a threshold; take the model's calibrated one, or set fixed_threshold.")
        if anomaly_map.ndim != 2 or not np.isfinite(anomaly_map).all():
            raise DataError(f"boxes are drawn in one map [X, Y] of numbers, got {list(anomaly_map.shape)}.")
        labels, count = ndimage.label(anomaly_map > limit, structure=_NEIGHBOURS[self.neighbours])
        if not count:
            return Boxes(np.zeros((0, 4)))
        index = np.arange(1, count + 1)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        measure = ndimage.maximum if self.score == "max" else ndimage.mean
        scores = np.asarray(measure(anomaly_map, labels, index), dtype=np.float64)
        corners = np.asarray(
            [(x.start, y.start, x.stop, y.stop) for x, y in ndimage.find_objects(labels)], dtype=np.float64
        )
        found = Boxes(corners, scores).chosen(sizes >= self.smallest_px)
        rank = found.scores if self.order == "score" else found.areas
        return found.chosen(np.argsort(-rank, kind="stable")[: self.most_boxes])
