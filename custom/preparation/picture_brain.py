# SPDX-License-Identifier: Apache-2.0
"""Where the head and, within it, the brain lies in a 2-D picture.

The head is the largest part brighter than half of Otsu's threshold, filled; bright margins of a page are taken away first.
The skull is a dark ring between brain and scalp in every contrast: along rays from the middle of the head, the closed path
of the lowest brightness is sought whose distance from the middle changes little from ray to ray (dynamic programming), and
the brain lies within it. A picture of an extracted brain has no such ring; there the brain is the "head" itself. Which of
the two it is, :mod:`.picture_place` decides by the likeness with healthy brains.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from ..core.errors import DataError
from .brain import largest_part
from .picture_frame import Array

Mask = NDArray[np.bool_]
_LEAST_SHARE = 0.01  # of the picture that a head covers
_PANEL_SHARE = 0.15  # of the bright part of a picture that a second panel covers
_MARGIN_SHARE = 0.05  # of the picture that a bright margin covers
_SMOOTH = 0.06  # of the radius of a brain, below which parts of its estimate are taken off
_RAYS, _STEPS = 240, 64
_RING = (0.68, 0.97)  # where the ring may lie, as a share of the way from the middle of the head to its edge
_MAX_TURN = 1  # steps that neighbouring rays may differ


def head_mask(picture: Array) -> Mask:
    """Return the head in a picture ``[X, Y]`` of any brightness, filled.

    Raises:
        DataError: a picture of one brightness, or without a part that is large enough.
    """
    head = largest_part(ndimage.binary_fill_holes(_bright(picture)))
    if head.mean() < _LEAST_SHARE:
        raise DataError("no head was found in the picture: no bright part covers more than a hundredth of it.")
    return head


def bright_brain(picture: Array) -> Mask:
    """Return the largest bright part, filled: the brain, where the skull parts it from the scalp."""
    filled = ndimage.binary_fill_holes(largest_part(_bright(picture)))
    radius = max(round(_SMOOTH * float(np.sqrt(filled.sum() / np.pi))), 1)
    distance = ndimage.distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1]
    core = largest_part(distance > radius)  # opening by a disc: without thin bridges to the scalp
    return np.asarray(filled & (ndimage.distance_transform_edt(~core) <= radius)) if core.any() else filled


def panels(picture: Array) -> int:
    """Return how many large bright parts there are; a figure of several panels has two or more."""
    labels, _ = ndimage.label(ndimage.binary_fill_holes(_bright(picture)))
    sizes = np.bincount(labels.ravel())[1:]
    return max(int((sizes > _PANEL_SHARE * sizes.sum()).sum()), 1)


def _bright(picture: Array) -> Mask:
    if picture.ndim != 2 or not np.isfinite(picture).all():
        raise DataError(f"a picture is [X, Y] with a number in every pixel, got {list(picture.shape)}.")
    if picture.min() == picture.max():
        raise DataError("the picture has one brightness throughout; there is nothing to see in it.")
    values = _without_margin(picture - picture.min())
    return np.asarray(values > 0.5 * threshold_otsu(values))


def _without_margin(values: Array) -> Array:
    """Return ``values`` with the white margins of a page black."""
    labels, _ = ndimage.label(values >= 0.98 * values.max())
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    sizes = np.bincount(labels.ravel())
    margins = [label for label in edge if label and sizes[label] > _MARGIN_SHARE * labels.size]
    return np.where(np.isin(labels, margins), 0.0, values) if margins else values


def brain_within(picture: Array, head: Mask) -> Mask:
    """Return what lies within the dark ring of the skull, bool ``[X, Y]``; ``head`` is that of :func:`head_mask`."""
    radius = float(np.sqrt(head.sum() / np.pi))
    middle = np.asarray(ndimage.center_of_mass(head))
    angles = np.arange(_RAYS) * (2 * np.pi / _RAYS)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    reach = np.hypot(*picture.shape)
    along = np.arange(0, reach, max(radius / 200, 0.5))
    inside = ndimage.map_coordinates(
        head.astype(np.float64), (middle + directions[:, None] * along[None, :, None]).transpose(2, 0, 1), order=0
    )
    edge = np.asarray([along[np.flatnonzero(ray > 0.5)[-1]] if (ray > 0.5).any() else 1.0 for ray in inside])
    edge = ndimage.median_filter(edge, 15, mode="wrap")  # ears and the nose
    shares = np.linspace(*_RING, _STEPS)
    places = middle + directions[:, None] * (edge[:, None] * shares)[..., None]
    smooth = ndimage.gaussian_filter(picture, 0.01 * radius)
    cost = ndimage.map_coordinates(smooth, places.transpose(2, 0, 1), order=1, mode="nearest")
    cost = cost / np.maximum(np.percentile(picture[head], 90), 1e-12)
    path = _closed_path(cost)
    distance = edge * shares[path]
    distance = distance - 0.02 * radius  # from the middle of the ring to its inner edge
    x, y = np.meshgrid(*(np.arange(n) for n in picture.shape), indexing="ij")
    turn = np.arctan2(y - middle[1], x - middle[0]) % (2 * np.pi)
    limit = np.interp(turn, np.append(angles, 2 * np.pi), np.append(distance, distance[0]))
    return np.asarray(head & (np.hypot(x - middle[0], y - middle[1]) <= limit))


def _closed_path(cost: Array) -> NDArray[np.intp]:
    """Return for every ray ``[rays, steps]`` the step of the cheapest path that ends where it began."""
    twice = np.concatenate([cost, cost])  # the second round begins where the first one ended
    total, came = twice[0], np.zeros(twice.shape, dtype=np.intp)
    steps = np.arange(cost.shape[1])
    for ray in range(1, len(twice)):
        padded = np.pad(total, _MAX_TURN, constant_values=np.inf)
        around = np.stack([padded[first : first + len(total)] for first in range(2 * _MAX_TURN, -1, -1)])
        best = around.argmin(axis=0)
        came[ray] = steps - (best - _MAX_TURN)
        total = around.min(axis=0) + twice[ray]
    path = np.empty(len(twice), dtype=np.intp)
    path[-1] = int(total.argmin())
    for ray in range(len(twice) - 1, 0, -1):
        path[ray - 1] = came[ray, path[ray]]
    middle = len(cost) // 2
    return np.concatenate([path[len(cost) : len(cost) + middle], path[middle : len(cost)]])
