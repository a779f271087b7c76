# SPDX-License-Identifier: Apache-2.0
"""Anomaly map and boxes of one 2-D picture: any size, grey or colour, with the skull or without.

The picture's place in the model's grid is found by its likeness with healthy brains (:mod:`custom.preparation.picture_place`),
the model scores that slice alone, and map and boxes go back to the picture's pixels. Thresholds are those of the model, which
come from healthy slices (`uad calibrate --pictures`), else from healthy scans.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ConfigError, DataError
from ..detection import MapToBoxes
from ..models.voxel_atlas import VoxelAtlas
from ..preparation.picture_brain import Mask, brain_within, bright_brain, head_mask, panels
from ..preparation.picture_frame import Array, smaller
from ..preparation.picture_place import PicturePlace, healthy_picture, place_picture
from ..volumes.picture import read_picture
from .calibration import Threshold
from .case_result import MAX_ANOMALOUS
from .picture_result import PictureResult
from .picture_scoring import ScoredSlice, SliceScorer

if TYPE_CHECKING:
    from .predictor import Predictor

_SEARCH_PX = 1024  # larger pictures are made smaller before the brain is sought
_LEAST_DICE = 0.85


def predict_picture(
    predictor: Predictor, path: str | Path, mask: str | Path | None = None, rule: MapToBoxes | None = None
) -> PictureResult:
    """Return map and boxes of a picture.

    Args:
        predictor: a trained and calibrated model.
        path: PNG, JPEG or TIFF file; an axial slice.
        mask: picture of the same size that is not black within the brain; None: the brain is estimated.
        rule: how boxes are made of the map; None: at the calibrated threshold, without components that the model's
            post-processing removes.

    Raises:
        DataError: the picture cannot be read, or there is no brain in it.
        ConfigError: the model cannot score a single slice.
    """
    path = Path(path)
    scan = read_picture(path, path.name)
    picture = scan.array[:, :, 0].astype(np.float64)
    scored, factor = _scored(predictor, picture, mask, path.name)
    place, calibration = scored.place, predictor.calibration.for_pictures
    chosen = calibration.threshold(predictor.sensitivity, predictor.threshold)
    size = place.upright(picture).shape
    frame = place.frame.enlarged(factor, place.brain.shape, size)

    def in_picture(values: NDArray[Any]) -> Array:
        found = frame.to_picture(np.asarray(values, dtype=np.float64), size)
        return np.ascontiguousarray(place.as_seen(found))

    scores = in_picture(scored.anomaly_map)
    outline = in_picture(scored.brain) > 0.5
    low, high = scored.intensities
    healthy = np.where(outline, in_picture(scored.reconstruction) * (high - low) + low, picture)
    removed = predictor.inferer.postprocessing.largest_removed(predictor.inferer.spacing_mm[0] ** 3)
    smallest = (1 + removed) / frame.scale**2
    if rule is not None and rule.fixed_threshold is not None:
        chosen = Threshold(rule.fixed_threshold, "a published rule")
    boxes = (rule or MapToBoxes(smallest_px=max(math.ceil(smallest), 1)))(scores, chosen.value)
    return PictureResult(
        name=path.name, sha256=scan.sha256, picture=picture, anomaly_map=scores.astype(np.float32), brain=outline,
        pseudohealthy=healthy, boxes=boxes, threshold=chosen, calibration=calibration, place=place, intensities=scored.intensities,
        warnings=tuple(_warnings(picture, place, calibration.reference or {}, scores, outline, chosen.value)),
    )  # fmt: skip


def scores_of_picture(predictor: Predictor, path: Path) -> NDArray[np.float32]:
    """Return the anomaly scores within the brain of a picture, on the model's grid."""
    scored, _ = _scored(predictor, read_picture(path, path.name).array[:, :, 0].astype(np.float64), None, path.name)
    return scored.anomaly_map[scored.brain]


def scores_of_slices(predictor: Predictor, path: Path, mask: Path | None, every_mm: float = 8.0) -> NDArray[np.float32]:
    """Return the scores within the brain of axial slices of a scan, each treated as a picture of an extracted brain.

    Slices with less than half of the brain of the fullest one are left out.
    """
    data = predictor.preprocessing({"image": str(path), "mask": str(mask) if mask else None, "case_id": path.name})
    image, brain = np.asarray(data["image"], dtype=np.float64)
    areas = (brain > 0).sum(axis=(0, 1))
    step = max(round(every_mm / float(predictor.inferer.spacing_mm[2])), 1)
    found = []
    for z in np.flatnonzero(areas >= 0.5 * areas.max())[::step]:
        picture = (image * (brain > 0))[::-1, ::-1, z]  # as it is seen: X to the right, Y downwards
        scored, _ = _scored(predictor, np.ascontiguousarray(picture), None, path.name)
        found.append(scored.anomaly_map[scored.brain])
    return np.concatenate(found)


def _scored(predictor: Predictor, picture: Array, mask: str | Path | None, case: str) -> tuple[ScoredSlice, int]:
    """Return the scored slice, and the factor by which the picture was made smaller."""
    if isinstance(predictor.network, VoxelAtlas):
        raise ConfigError("an atlas compares whole scans and cannot score a picture; take a model of another method.")
    reference = predictor.calibration.reference
    healthy = healthy_picture(reference)
    place, factor = find_place(picture, reference, predictor.grid_shape, mask, case)
    try:
        scoring = predictor.calibration.for_pictures.scoring
        scorer = SliceScorer(predictor.inferer, predictor.network, predictor.device, healthy, scoring)
        return scorer(smaller(picture, factor), place), factor
    except DataError as error:
        raise DataError(str(error), case=case) from None


def find_place(
    picture: Array, reference: Any, grid_shape: Any, mask: str | Path | None = None, case: str = "picture"
) -> tuple[PicturePlace, int]:
    """Return where a picture ``[X, Y]`` lies in the model's grid, and the factor by which it was made smaller for that."""
    factor = math.ceil(max(picture.shape) / _SEARCH_PX)
    small = smaller(picture, factor)
    try:
        if mask is not None:
            brains = [smaller(_mask(mask, picture), factor) > 0.5]
        else:
            brains = [bright_brain(small), brain_within(small, head_mask(small))]
        return place_picture(small, brains, reference, grid_shape), factor
    except DataError as error:
        raise DataError(str(error), case=case) from None


def _mask(path: str | Path, picture: Array) -> Array:
    values = read_picture(Path(path), Path(path).name).array[:, :, 0]
    if values.shape != picture.shape:
        raise DataError(
            f"the mask {Path(path).name} has {values.shape[0]} x {values.shape[1]} pixels, the picture {picture.shape[0]} x "
            f"{picture.shape[1]}."
        )
    return np.asarray(values > 0, dtype=np.float64)


def _warnings(
    picture: Array, place: PicturePlace, reference: Any, scores: Array, brain: Mask, threshold: float
) -> list[str]:
    found = []
    if place.correlation < reference.get("min_correlation", 0.0):
        found.append(
            f"this looks little like an axial slice of the contrast that the model was trained on (correlation "
            f"{place.correlation:.2f}, expected at least {reference['min_correlation']:.2f}): the map may mean nothing"
        )
    if place.dice < _LEAST_DICE:
        found.append(
            f"the brain's outline is unusual (overlap {place.dice:.2f} with healthy brains): it may be estimated wrongly; "
            "give it by --mask"
        )
    if place.turn != 2:
        found.append("the picture was taken as turned: front is not up")
    if (count := panels(picture)) > 1:
        found.append(f"the picture seems to have {count} panels; give each as a picture of its own")
    share = float((scores[brain] > threshold).mean()) if brain.any() else 0.0
    if share > MAX_ANOMALOUS:
        found.append(
            f"{share:.0%} of the brain lie above the threshold: more likely the model cannot reconstruct this picture than that "
            "all of it is abnormal"
        )
    return found
