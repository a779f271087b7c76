# SPDX-License-Identifier: Apache-2.0
"""Brain extraction without any further package: the packaged average brain is registered to the whole head.

The template's mask, laid over the head, is then corrected where the scan shows a clear edge: within :data:`REACH_MM` of
its surface, tissue that hangs together with the inside and is brighter than bone stays or is added. It is coarser than a
trained network (see the documentation for the agreement), but it needs no weights and works for any contrast in which
bone is dark.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.errors import DataError
from ..volumes.grid import halve_mean, halved_affine
from ..volumes.packaged_template import BrainTemplate, brain_template
from ..volumes.resampling import Affine, Floats, resample, spacing_of
from ._affine_search import AffineSearch, ImagePair

SEARCH_MM, REFINE_MM = 4.0, 2.0
REACH_MM, CORE_MM = 6.0, 6.0
SCALP_AND_SKULL_MM = 12.0
HEAD_HEIGHT_MM = 160.0
_STARTS = tuple((scale, turn) for scale in (0.85, 0.95) for turn in (-15.0, 0.0, 15.0))


@dataclass(frozen=True)
class AtlasExtraction:
    """Brain mask by affine registration of the packaged template to the head.

    Attributes:
        iterations: of the search from each start.
        bone_share: intensity of bone and air at most, as a share of the median inside the brain.

    >>> AtlasExtraction()(np.zeros((8, 8, 8), np.float32), np.eye(4), "case1")
    Traceback (most recent call last):
    custom.core.errors.DataError: case1: no head was found in the scan: its foreground is empty
    """

    iterations: int = 60
    bone_share: float = 0.5

    def __call__(self, image: Floats, affine: Affine, case: str) -> NDArray[np.bool_]:
        """Return the brain mask of a head ``[X, Y, Z]`` whose axes point right, anterior, superior.

        Raises:
            DataError: there is no head in the scan.
        """
        frame = np.diag([*spacing_of(affine), 1.0])  # as the networks see it: the header's turn changes nothing
        head, grid = _isotropic_head(image, frame, SEARCH_MM)
        foreground = _foreground(head)
        if not foreground.any():
            raise DataError("no head was found in the scan: its foreground is empty", case=case)
        template = brain_template()
        search = AffineSearch(_pair(template, head, grid))
        starts = [_start(template, foreground, grid, scale, turn) for scale, turn in _STARTS]
        matrix, _ = search.best_of(starts, self.iterations)
        fine, fine_grid = _isotropic_head(image, frame, REFINE_MM)
        placed = resample(
            template.mask.astype(np.float32), template.affine, np.linalg.inv(matrix) @ fine_grid, fine.shape, False
        )
        refined = _refined(fine, placed > 0.5, self.bone_share)
        return resample(refined.astype(np.float32), fine_grid, frame, image.shape, antialias=False) > 0.5


def _isotropic_head(image: Floats, affine: Affine, step_mm: float) -> tuple[Floats, Affine]:
    """Return the whole field of view along the world's axes with cubic voxels, clipped at the 99th percentile."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape])).reshape(3, -1)
    world = affine[:3, :3] @ corners + affine[:3, 3:]
    grid = np.diag([step_mm] * 3 + [1.0])
    grid[:3, 3] = world.min(axis=1)
    shape = np.ceil((world.max(axis=1) - world.min(axis=1)) / step_mm).astype(int) + 1
    head = resample(image, affine, grid, shape.tolist())
    bright = head[head > 0.02 * head.max()]
    return np.minimum(head, np.percentile(bright, 99)) if bright.size else head, grid


def _foreground(head: Floats) -> NDArray[np.bool_]:
    """Return the largest part above a tenth of the bright tissue, without holes."""
    labels, count = ndimage.label(ndimage.gaussian_filter(head, 1.0) > 0.1 * np.percentile(head, 98))
    if count == 0:
        return np.zeros(head.shape, dtype=bool)
    return np.asarray(ndimage.binary_fill_holes(labels == np.bincount(labels.ravel())[1:].argmax() + 1))


def _pair(template: BrainTemplate, head: Floats, grid: Affine) -> ImagePair:
    even = [(0, n % 2) for n in template.t1.shape]
    inside = ndimage.binary_dilation(halve_mean(np.pad(template.mask, even)) > 0.25, iterations=2)
    return ImagePair(halve_mean(np.pad(template.t1, even)), halved_affine(template.affine), inside, head, grid)


def _start(
    template: BrainTemplate, foreground: NDArray[np.bool_], grid: Affine, scale: float, turn_deg: float
) -> Affine:
    """Return a start: the template's top lies under the scalp, its middle in that of the upper head."""
    points = np.argwhere(foreground) @ grid[:3, :3].T + grid[:3, 3]
    top = float(np.percentile(points[:, 2], 99.9))
    upper = points[points[:, 2] > top - HEAD_HEIGHT_MM]
    middle = (np.percentile(upper, 2, axis=0) + np.percentile(upper, 98, axis=0)) / 2
    brain = np.argwhere(template.mask) @ template.affine[:3, :3].T + template.affine[:3, 3]
    centre = (brain.min(axis=0) + brain.max(axis=0)) / 2
    half_height = scale * (brain[:, 2].max() - brain[:, 2].min()) / 2
    target = np.array([middle[0], middle[1], top - SCALP_AND_SKULL_MM - half_height])
    cosine, sine = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    matrix = np.eye(4)
    matrix[:3, :3] = scale * np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix[:3, 3] = target - matrix[:3, :3] @ centre
    return matrix


def _refined(head: Floats, placed: NDArray[np.bool_], bone_share: float) -> NDArray[Any]:
    """Move the placed mask to the edge of the tissue, within :data:`REACH_MM`; cubic voxels of 2 mm."""
    depth = REFINE_MM * (ndimage.distance_transform_edt(placed) - ndimage.distance_transform_edt(~placed))
    core = depth > CORE_MM
    tissue = head > bone_share * np.median(head[core])
    reachable = tissue & (depth > -REACH_MM) | core
    opened = ndimage.binary_opening(reachable, _ball(2)) | core
    labels, _ = ndimage.label(opened)
    sizes = np.bincount(labels.ravel(), weights=core.ravel().astype(np.float64))
    sizes[0] = 0
    kept = ndimage.binary_dilation(labels == sizes.argmax()) & reachable
    closed = ndimage.binary_closing(np.pad(kept, 4), _ball(3))[4:-4, 4:-4, 4:-4]
    return np.asarray(ndimage.binary_fill_holes(closed & (depth > -REACH_MM)))


def _ball(radius: int) -> NDArray[np.bool_]:
    offsets = np.arange(-radius, radius + 1)
    x, y, z = np.meshgrid(offsets, offsets, offsets, indexing="ij")
    return np.asarray(x**2 + y**2 + z**2 <= radius**2 + 0.5)
