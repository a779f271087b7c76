# SPDX-License-Identifier: Apache-2.0
"""The pictures of a case report: three planes through each of the first findings, one slice in four layers, a mosaic.

Neurological view: the patient's left is on the left; radiological view: on the right. Sagittal slices look from the left.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from . import overlays
from .views import View

if TYPE_CHECKING:
    from .case_result import CaseResult

MOSAIC_SLICES = 21
BAR_MM = 50.0
_ENLARGE = 4
_COLUMNS = 7
_PLANES = ((2, "axial", "LRAP"), (1, "coronal", "LRSI"), (0, "sagittal", "PASI"))
Voxel = tuple[int, int, int]


def focuses(result: CaseResult, count: int = 3) -> list[Voxel]:
    """Return a voxel of the model's grid inside each of the first findings; without findings that of the highest score."""
    mask, scores = np.asarray(result.grid["mask"]) > 0, result.grid["map"]
    labels, found = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if not found or not result.findings:
        x, y, z = np.unravel_index(int((np.where(mask, scores, -1) if mask.any() else scores).argmax()), scores.shape)
        return [(int(x), int(y), int(z))]
    inside = np.argwhere(mask)
    to_grid = np.linalg.inv(result.grid_affine)
    chosen: dict[int, Voxel] = {}
    for finding in result.findings:
        centre = (to_grid @ [*finding.centre_mm, 1])[:3]
        nearest = inside[np.square(inside - centre).sum(axis=1).argmin()]
        chosen.setdefault(int(labels[tuple(nearest)]), (int(nearest[0]), int(nearest[1]), int(nearest[2])))
        if len(chosen) == count:
            break
    return list(chosen.values())


def three_planes(result: CaseResult, position: NDArray[Any], focus: Voxel, view: View) -> list[dict[str, Any]]:
    """Return axial, coronal and sagittal picture (PNG bytes) through a voxel, with their letters and place."""
    panels = []
    for axis, name, letters in _PLANES:
        picture = _overlay(result, position, axis, focus[axis], _ENLARGE)
        column, row = [focus[a] for a in range(3) if a != axis]
        height = result.grid["map"].shape[[a for a in range(3) if a != axis][1]]
        picture = overlays.crosshair(picture, (height - 1 - row) * _ENLARGE + 2, column * _ENLARGE + 2)
        picture = _turned(picture, axis, view)
        picture = overlays.scale_bar(picture, BAR_MM * _ENLARGE / _spacing(result))
        world = (result.grid_affine @ [*focus, 1])[:3]
        sides = dict(zip(("left", "right", "top", "bottom"), letters, strict=True))
        if axis != 0 and view == "radiological":
            sides["left"], sides["right"] = sides["right"], sides["left"]
        place = f"{'xyz'[axis]} = {world[axis]:.0f} mm"
        panels.append({"name": name, **sides, "label": place, "image": overlays.png(picture)})
    return panels


def comparison(result: CaseResult, position: NDArray[Any], focus: Voxel, view: View) -> list[dict[str, str]]:
    """Return the axial slice through a voxel as scan, pseudo-healthy image, map and mask."""
    grid = {name: overlays.plane(volume, 2, focus[2]) for name, volume in result.grid.items()}
    place = overlays.plane(position, 2, focus[2])
    black = np.zeros((*(_ENLARGE * n for n in place.shape), 3), dtype=np.float32)
    flat = overlays.flat(np.zeros_like(place), grid["brain"], _ENLARGE)
    pictures = {
        "scan": overlays.grey(grid["image"], _ENLARGE),
        "pseudo-healthy": overlays.grey(grid["reconstruction"], _ENLARGE),
        "anomaly map": overlays.heat(flat + black, place, _ENLARGE, 1.0),
        "mask": overlays.flat(grid["mask"], grid["brain"], _ENLARGE),
    }
    bar = BAR_MM * _ENLARGE / _spacing(result)
    return [
        {"name": name, "image": data_uri(overlays.png(overlays.scale_bar(_turned(p, 2, view), bar)))}
        for name, p in pictures.items()
    ]


def mosaic(result: CaseResult, position: NDArray[Any], view: View) -> dict[str, Any]:
    """Return rows of axial slices from bottom to top, cut to the brain, and the first and last height."""
    height = np.flatnonzero(result.grid["brain"].any(axis=(0, 1)))
    slices = np.linspace(height[0] + 1, height[-1] - 1, MOSAIC_SLICES).round().astype(int)
    brain = np.argwhere(result.grid["brain"].any(axis=2))
    (left, back), (right, front) = np.maximum(brain.min(axis=0) - 2, 0), brain.max(axis=0) + 3
    pictures = [_overlay(result, position, 2, int(z), 2) for z in slices]
    rows = result.grid["map"].shape[1]
    cut = [_turned(p[2 * max(rows - front, 0) : 2 * (rows - back), 2 * left : 2 * right], 2, view) for p in pictures]
    low, high = ((result.grid_affine @ [0, 0, z, 1])[2] for z in slices[[0, -1]])
    bar = BAR_MM * 2 / _spacing(result)
    rows_of_slices = [np.concatenate(cut[first : first + _COLUMNS], axis=1) for first in range(0, len(cut), _COLUMNS)]
    images = [data_uri(overlays.png(overlays.scale_bar(row, bar))) for row in rows_of_slices]
    return {"images": images, "low": f"{low:.0f}", "high": f"{high:.0f}"}


def data_uri(image: bytes, kind: str = "png") -> str:
    """Return a PNG (or JPEG) file as the source of an img element."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _overlay(result: CaseResult, position: NDArray[Any], axis: int, index: int, enlarge: int) -> overlays.Picture:
    image, heat, mask = (overlays.plane(v, axis, index) for v in (result.grid["image"], position, result.grid["mask"]))
    return overlays.outline(overlays.heat(overlays.grey(image, enlarge), heat, enlarge), mask, enlarge)


def _turned(picture: overlays.Picture, axis: int, view: View) -> overlays.Picture:
    return picture[:, ::-1] if axis != 0 and view == "radiological" else picture


def _spacing(result: CaseResult) -> float:
    return float(np.linalg.norm(result.grid_affine[:3, 0]))
