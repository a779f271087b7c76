# SPDX-License-Identifier: Apache-2.0
"""Where the brain lies in a 2-D picture, and the way from its pixels to the model's grid and back.

A picture has any size, its skull, black margins and perhaps burnt-in text. The head is the largest part brighter than half of
Otsu's threshold, filled; the brain is estimated as the head shrunk by 0.15 of its radius. That finds the place and the size of a
brain (median Dice 0.95 against a trained brain extraction in 771 axial slices, less at the base and the vertex), not its outline.
One scale and one shift then put the estimated brain where brains lie in the training slices, so that a box of the grid is a box of the
picture.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from ..core.errors import DataError

Array = NDArray[np.float64]
_SHRINK = 0.15
_LEAST_SHARE = 0.01  # of the picture that a head covers


@dataclass(frozen=True)
class PictureFrame:
    """A scale and a shift between the pixels of a picture and those of the model's grid, both ``[X, Y]``.

    Attributes:
        scale: pixels of the grid per pixel of the picture.
        centre_px: middle of the brain in the picture, x and y; the middle of the first pixel is 0.
        grid_centre_px: where that lies on the grid.
        grid_size_px: edges of the grid.

    >>> frame = PictureFrame(scale=0.5, centre_px=(20, 30), grid_centre_px=(10, 10), grid_size_px=(24, 24))
    >>> frame.to_grid(np.ones((40, 60))).shape, frame.to_picture(np.ones((24, 24)), (40, 60)).shape
    ((24, 24), (40, 60))
    """

    scale: float
    centre_px: tuple[float, float]
    grid_centre_px: tuple[float, float] = (47.5, 47.2)
    grid_size_px: tuple[int, int] = (96, 96)

    def to_grid(self, picture: Array) -> Array:
        """Return ``picture`` on the grid, smoothed before it is made smaller; black where it ends.

        Args:
            picture: ``[X, Y]``, of any size.
        """
        smooth = ndimage.gaussian_filter(picture, 0.4 * max(1 / self.scale - 1, 0)) if self.scale < 1 else picture
        places = self._places(self.grid_size_px, self.grid_centre_px, self.centre_px, 1 / self.scale)
        return np.asarray(ndimage.map_coordinates(smooth, places, order=1, mode="constant"))

    def to_picture(self, values: Array, shape: tuple[int, int]) -> Array:
        """Return ``values`` of the grid ``[X, Y]`` on a picture of ``shape``, linearly between pixels; 0 outside the grid."""
        places = self._places(shape, self.centre_px, self.grid_centre_px, self.scale)
        return np.asarray(ndimage.map_coordinates(values, places, order=1, mode="grid-constant"))

    @staticmethod
    def _places(
        shape: tuple[int, int], centre: tuple[float, float], other_centre: tuple[float, float], step: float
    ) -> Array:
        axes = [
            (np.arange(n) - here) * step + there for n, here, there in zip(shape, centre, other_centre, strict=True)
        ]
        return np.asarray(np.meshgrid(*axes, indexing="ij"))


def head_mask(picture: Array) -> NDArray[np.bool_]:
    """Return the head in a picture ``[X, Y]`` of any brightness, filled.

    Raises:
        DataError: a picture of one brightness, or without a part that is large enough.
    """
    if picture.ndim != 2 or not np.isfinite(picture).all():
        raise DataError(f"a picture is [X, Y] with a number in every pixel, got {list(picture.shape)}.")
    if picture.min() == picture.max():
        raise DataError("the picture has one brightness throughout; there is nothing to see in it.")
    dark = float(picture.min())
    labels, _ = ndimage.label(picture - dark > 0.5 * threshold_otsu(picture - dark))
    head = ndimage.binary_fill_holes(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))
    if head.mean() < _LEAST_SHARE:
        raise DataError("no head was found in the picture: no bright part covers more than a hundredth of it.")
    return np.asarray(head)


def brain_frame(
    head: NDArray[np.bool_], brain_px: tuple[float, float] = (65, 82), is_brain: bool = False
) -> tuple[PictureFrame, NDArray[np.bool_]]:
    """Return the frame that brings the estimated brain to the size of brains in the training slices, and the estimate.

    Args:
        head: mask of the head ``[X, Y]``.
        brain_px: shorter and longer edge of the box around a training brain, on the grid.
        is_brain: the mask is the brain's already, nothing is taken off.
    """
    radius = float(np.sqrt(head.sum() / np.pi))
    brain = head if is_brain else ndimage.distance_transform_edt(np.pad(head, 1))[1:-1, 1:-1] > _SHRINK * radius
    places = [np.flatnonzero(brain.any(axis=1 - axis)) for axis in range(2)]
    edges = sorted(float(p[-1] - p[0] + 1) for p in places)
    scale = min(wanted / edge for wanted, edge in zip(sorted(brain_px), edges, strict=True))
    centre = (float(places[0][0] + places[0][-1]) / 2, float(places[1][0] + places[1][-1]) / 2)
    return PictureFrame(scale, centre), np.asarray(brain)


def scaled_to_unit(picture: Array, brain: NDArray[np.bool_]) -> Array:
    """Return intensities that are 0 at the 1st and 1 at the 99th percentile within ``brain``, clipped to [0, 1] there.

    Raises:
        DataError: the brain has one brightness.
    """
    low, high = np.percentile(picture[brain], [1, 99])
    if low == high:
        raise DataError("the brain has one brightness throughout; there is nothing to see in it.")
    return np.asarray(np.clip((picture - low) / (high - low), 0, 1) * brain)
