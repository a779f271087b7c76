# SPDX-License-Identifier: Apache-2.0
"""Pictures of a result as PNG bytes: slices of the model's grid (RAS, 2 mm), enlarged, with the map laid over them.

Colours mean the same in every report: the percentile that a score has inside healthy brains, on a scale of the tail
``-log10(1 - p)``, from the 90th (transparent) to the 99.99th percentile. Slices are shown as seen from above, from the
front and from the left; the patient's left is on the left unless :mod:`.pictures` turns them for the radiological view.
"""

from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray
from scipy import ndimage

TAIL_RANGE = (1.0, 4.0)  # 90 % and 99.99 %
TICKS = (90.0, 99.0, 99.9, 99.99)
COLOUR_MAP = "inferno"
OUTLINE = (0.20, 0.95, 0.95)
CROSS = (1.0, 1.0, 1.0)
_GAP_PX = 14
Picture = NDArray[np.float32]


def tail_position(percentile: NDArray[np.float32] | float) -> NDArray[np.float64]:
    """Return the place of percentiles (0 to 100) on the colour scale, 0 to 1.

    >>> [round(float(tail_position(p)), 3) for p in (50, 90, 99, 99.99, 100)]
    [0.0, 0.0, 0.333, 1.0, 1.0]
    """
    rest = np.maximum(1 - np.asarray(percentile, dtype=np.float64) / 100, 1e-9)
    low, high = TAIL_RANGE
    return np.clip((-np.log10(rest) - low) / (high - low), 0, 1)


def plane(volume: NDArray[Any], axis: int, index: int) -> NDArray[Any]:
    """Return a slice as picture rows: axial (axis 2) front up, coronal (1) and sagittal (0) top up."""
    return np.asarray(np.take(volume, index, axis=axis).T[::-1])


def grey(image: NDArray[Any], enlarge: int) -> Picture:
    """Return a slice in [0, 1] as grey RGB picture, enlarged linearly."""
    large = np.clip(ndimage.zoom(image.astype(np.float32), enlarge, order=1, grid_mode=True, mode="nearest"), 0, 1)
    return np.repeat(large[..., None], 3, axis=2)


def heat(picture: Picture, position: NDArray[Any], enlarge: int, opacity: float = 0.75) -> Picture:
    """Lay places on the colour scale (0 to 1) over a picture; low ones are transparent."""
    large = np.clip(ndimage.zoom(position.astype(np.float32), enlarge, order=1, grid_mode=True, mode="nearest"), 0, 1)
    colours = matplotlib.colormaps[COLOUR_MAP](0.25 + 0.75 * large)[..., :3]
    weight = opacity * np.clip(large / 0.25, 0, 1)[..., None]
    return np.asarray(picture * (1 - weight) + colours * weight, dtype=np.float32)


def outline(
    picture: Picture,
    mask: NDArray[Any],
    enlarge: int,
    colour: tuple[float, float, float] = OUTLINE,
    opacity: float = 1.0,
) -> Picture:
    """Draw the edge of a mask."""
    large = np.kron(mask > 0, np.ones((enlarge, enlarge), dtype=bool))
    edge = large & ~ndimage.binary_erosion(large)
    painted = (1 - opacity) * picture + opacity * np.array(colour, dtype=np.float32)
    return np.where(edge[..., None], painted, picture)


def crosshair(picture: Picture, row: int, column: int) -> Picture:
    """Draw thin lines through a point and leave the point itself free."""
    result = picture.copy()
    rows, columns = np.indices(picture.shape[:2])
    down, across = np.abs(rows - row), np.abs(columns - column)
    line = ((across == 0) & (down > _GAP_PX)) | ((down == 0) & (across > _GAP_PX))
    result[line] = 0.45 * result[line] + 0.55 * np.array(CROSS)
    return result


def scale_bar(picture: Picture, length_px: float) -> Picture:
    """Draw a white bar of a given length in the lower left corner."""
    result = picture.copy()
    rows, columns = picture.shape[:2]
    length = min(round(length_px), columns - 16)
    result[rows - 12 : rows - 8, 8 : 8 + length] = 1.0
    return result


def flat(mask: NDArray[Any], brain: NDArray[Any], enlarge: int) -> Picture:
    """Return a mask as a picture: white on the dark shape of the brain."""
    values = np.where(mask > 0, 1.0, np.where(brain > 0, 0.16, 0.0))
    return np.repeat(np.kron(values, np.ones((enlarge, enlarge)))[..., None], 3, axis=2).astype(np.float32)


def mosaic(pictures: list[Picture], columns: int) -> Picture:
    """Put pictures of one size side by side, row by row; every row is full."""
    rows = range(0, len(pictures), columns)
    return np.concatenate([np.concatenate(pictures[first : first + columns], axis=1) for first in rows])


def png(picture: Picture) -> bytes:
    """Return the picture as PNG file."""
    stream = BytesIO()
    imsave(stream, np.clip(picture, 0, 1), format="png")
    return stream.getvalue()


def colour_bar() -> bytes:
    """Return the colour scale as PNG of 512 x 12 pixels, from the 90th to the 99.99th percentile."""
    row = heat(np.full((1, 512, 3), 0.25, dtype=np.float32), np.linspace(0, 1, 512)[None], 1)
    return png(np.repeat(row, 12, axis=0))
