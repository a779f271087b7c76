# SPDX-License-Identifier: Apache-2.0
"""The way from the pixels of a 2-D picture to the model's grid and back: one scale and one shift, so boxes stay boxes."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]


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

    def enlarged(self, factor: int, small: tuple[int, ...], large: tuple[int, ...]) -> "PictureFrame":
        """Return the frame of a picture of shape ``large`` of which this frame's, of ``small``, is :func:`smaller`."""
        centre = tuple(
            (here - (n - 1) / 2) * factor + (m - 1) / 2 for here, n, m in zip(self.centre_px, small, large, strict=True)
        )
        return replace(self, scale=self.scale / factor, centre_px=(centre[0], centre[1]))

    def to_grid(self, picture: Array) -> Array:
        """Return a picture ``[X, Y]`` on the grid, smoothed before it is made smaller; black where it ends."""
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


def smaller(picture: Array, factor: int) -> Array:
    """Return the means over squares of ``factor`` pixels of a picture ``[X, Y]``, with the same middle; edges are repeated."""
    if factor == 1:
        return picture
    lacking = [-n % factor for n in picture.shape]
    padded = np.pad(picture, [(n // 2, n - n // 2) for n in lacking], mode="edge")
    x, y = (n // factor for n in padded.shape)
    return np.asarray(padded.reshape(x, factor, y, factor).mean(axis=(1, 3)))
