# SPDX-License-Identifier: Apache-2.0
"""Which slice of a healthy brain a 2-D picture shows, and how large: the way from its pixels to the model's grid.

A picture states no voxel size, no side and no height. The reference of a model (:mod:`.quality`), a healthy brain in
blocks of 4 x 4 x 4 voxels, gives them: for every height, turn by a right angle, mirror image and estimate of the brain, the
picture is scaled to the area of the healthy brain there, and the likeness is the overlap (Dice) of the brains plus the
correlation of the intensities within both. The picture as it is, front up, is kept unless another turn is clearly more alike; of
the two mirror images the more alike is taken. Turned and mirrored pictures therefore give turned and mirrored results.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ConfigError, DataError
from .picture_brain import Mask
from .picture_frame import Array, PictureFrame
from .quality import BLOCK, block_means, mean_picture

_UPRIGHT_MARGIN = 0.1  # in likeness, by which another turn must be better
_LEAST_CELLS = 60  # blocks of brain in a slice of the reference


@dataclass(frozen=True, eq=False)
class PicturePlace:
    """Where a picture lies in a model's grid.

    Attributes:
        turn: quarter turns (``np.rot90`` of ``[X, Y]``) that bring it upright.
        mirrored: whether its first axis is turned round then.
        frame: from the pixels of the turned picture to the grid.
        brain: estimated brain in the turned picture, bool ``[X, Y]``.
        height: index of the slice along the grid's last axis.
        dice: overlap of the estimated brain with the healthy one, 0 to 1.
        correlation: of the intensities within both, -1 to 1.

    >>> picture, frame = np.array([[1, 2], [3, 4]]), PictureFrame(1.0, (0.5, 0.5), (0.5, 0.5), (2, 2))
    >>> place = PicturePlace(2, False, frame, brain=picture > 0, height=25, dice=0.9, correlation=0.5)
    >>> place.upright(picture).tolist(), place.likeness
    ([[4, 3], [2, 1]], 1.4)
    """

    turn: int
    mirrored: bool
    frame: PictureFrame
    brain: Mask
    height: int
    dice: float
    correlation: float

    @property
    def likeness(self) -> float:
        """Overlap plus correlation."""
        return self.dice + self.correlation

    def upright(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Return a picture ``[X, Y]`` as the model sees it: X to the patient's right, Y to the front."""
        return turned(picture, self.turn, self.mirrored)

    def as_seen(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return upright values ``[X, Y]`` in the axes of the picture."""
        values = values[::-1] if self.mirrored else values
        return np.rot90(values, -self.turn)


def turned(picture: NDArray[Any], turn: int, mirrored: bool) -> NDArray[Any]:
    """Return ``picture`` after ``turn`` quarter turns, then with its first axis turned round if ``mirrored``."""
    found = np.rot90(picture, turn)
    return found[::-1] if mirrored else found


def place_picture(
    picture: Array, brains: Sequence[Mask], reference: Mapping[str, Any], grid_shape: Sequence[int]
) -> PicturePlace:
    """Return the most likely place of a picture.

    Args:
        picture: ``[X, Y]``, X to the right and Y downwards.
        brains: estimates of the brain, bool ``[X, Y]``.
        reference: of the model, see :func:`healthy_picture`.
        grid_shape: ``[X, Y, Z]`` of the model's grid.

    Raises:
        DataError: no estimate has a pixel.
        ConfigError: the reference has no picture.
    """
    healthy = healthy_picture(reference)
    best: dict[int, PicturePlace] = {}
    for turn in (2, 3, 0, 1):  # two quarter turns bring a picture, whose Y goes down, front up
        for mirrored in (False, True):
            upright = np.ascontiguousarray(turned(picture, turn, mirrored))
            for brain in (np.ascontiguousarray(turned(b, turn, mirrored)) for b in brains if b.any()):
                for place in _places(upright, brain, healthy, grid_shape):
                    if turn not in best or place.likeness > best[turn].likeness:
                        best[turn] = replace(place, turn=turn, mirrored=mirrored)
    if not best:
        raise DataError("no brain was found in the picture; give its mask by --mask.")
    upright_likeness = best[2].likeness + _UPRIGHT_MARGIN if 2 in best else -np.inf
    other = max(best, key=lambda turn: best[turn].likeness)
    return best[other] if best[other].likeness > upright_likeness else best[2]


def healthy_picture(reference: Mapping[str, Any] | None) -> Array:
    """Return the mean healthy brain of a model's reference, see :func:`.quality.mean_picture`.

    Raises:
        ConfigError: the model has no reference.
    """
    if not reference:
        raise ConfigError(
            "the model does not know what a healthy brain looks like, so it cannot say which slice a picture shows; evaluate "
            "it with three or more healthy scans and promote that evaluation."
        )
    return mean_picture(reference)


def scaled_like_healthy(picture: Array, brain: Mask, healthy: Array, height: int) -> tuple[Array, tuple[float, float]]:
    """Return a picture in the units of the model, and which of its intensities became 0 and 1.

    The 1st percentile within the brain becomes 0. The factor is the median, over blocks, of the ratio between healthy
    brain and picture at the same place: the 99th percentile of one slice is not that of a scan (in slices near the vertex
    of T1 scans it is a quarter lower), and a lesion may hold it.

    Args:
        picture: on the grid, ``[X, Y]``.
        brain: bool ``[X, Y]``.
        healthy: see :func:`healthy_picture`.
        height: of the slice, see :class:`PicturePlace`.

    Raises:
        DataError: the brain has one brightness.
    """
    low, high = (float(value) for value in np.percentile(picture[brain], [1, 99]))
    if low == high:
        raise DataError("the brain has one brightness throughout; there is nothing to see in it.")
    level = healthy[:, :, min(height // BLOCK[2], healthy.shape[2] - 1)]
    share, values = block_means(brain.astype(np.float64)), block_means((picture - low) * brain)
    known = (share > 0.9) & np.isfinite(level) & (values > 0)
    if known.sum() >= _LEAST_CELLS // 2:
        width = float(1 / np.median(level[known] / (values / np.maximum(share, 1e-6))[known]))
        high = low + float(np.clip(width, 0.5 * (high - low), 2 * (high - low)))
    return np.asarray(np.clip((picture - low) / (high - low), 0, 1) * brain), (low, high)


def _places(picture: Array, brain: Mask, healthy: Array, grid_shape: Sequence[int]) -> Iterator[PicturePlace]:
    """Yield the place of an upright picture at every height of the reference."""
    levels = [level for level in range(healthy.shape[2]) if np.isfinite(healthy[:, :, level]).sum() >= _LEAST_CELLS]
    areas = {level: float(np.isfinite(healthy[:, :, level]).sum() * BLOCK[0] * BLOCK[1]) for level in levels}
    pixels = np.argwhere(brain)
    centre = (float(pixels[:, 0].mean()), float(pixels[:, 1].mean()))
    size = (int(grid_shape[0]), int(grid_shape[1]))
    middle = ((size[0] - 1) / 2, (size[1] - 1) / 2)
    largest = float(np.sqrt(max(areas.values()) / len(pixels)))
    coarse = PictureFrame(largest, centre, middle, size)
    mask, values = coarse.to_grid(brain.astype(np.float64)), coarse.to_grid(picture * brain)
    for level in levels:
        known = np.isfinite(healthy[:, :, level])
        x, y = ((np.argwhere(known).mean(axis=0) + 0.5) * BLOCK[:2] - 0.5).tolist()
        scale = float(np.sqrt(areas[level] / len(pixels)))
        shifted = PictureFrame(scale / largest, middle, (x, y), size)
        share = block_means(shifted.to_grid(mask))
        found = share > 0.5
        both = found & known
        one, other = (block_means(shifted.to_grid(values)) / np.maximum(share, 1e-6))[both], healthy[:, :, level][both]
        flat = both.sum() < _LEAST_CELLS // 2 or one.std() == 0 or other.std() == 0
        yield PicturePlace(
            turn=0, mirrored=False, frame=PictureFrame(scale, centre, (x, y), size), brain=brain,
            height=min(int((level + 0.5) * BLOCK[2]), int(grid_shape[2]) - 1),
            dice=2 * float(both.sum()) / float(found.sum() + known.sum()),
            correlation=0.0 if flat else float(np.corrcoef(one, other)[0, 1]),
        )  # fmt: skip
