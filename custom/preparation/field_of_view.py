# SPDX-License-Identifier: Apache-2.0
"""Which part of a scan the model sees.

The model's grid has RAS axes, 96x96x50 voxels of 2 mm, and lies around the brain: its centre is that of the mask's
bounding box in world coordinates, moved by :data:`CENTRE_OFFSET_MM`, the mean over 60 prepared IXI scans of the distance
between the centre of the training volumes and that of their masks. Scans of 2 or 1 mm with axes along the world's are
cut and halved; if they lie as the training scans do (:data:`CENTRED_MM`), or claim to (``registered``), the grid is the
centre of the scan. All others are smoothed and interpolated; those that were registered (``centre_mm``) at a fixed place of
the training scans' space. Without a registration the head keeps its size.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ConfigError, DataError
from ..volumes.grid import block, halved_affine, start_index
from ..volumes.resampling import Affine, needed_part, spacing_of
from .subject import Subject, TargetGrid

CENTRE_OFFSET_MM = np.array([0.0, 0.6, 2.0])
CENTRED_MM = 8.0
_ALIGNED = 1e-3
_REGISTERED_SPACING = 0.01


@dataclass(frozen=True)
class FieldOfView:
    """Choose the place of the model's grid and cut the scan to what the grid needs.

    Attributes:
        shape: grid in voxels; ``[X, Y, 1]`` for two-dimensional images, whose plane and thickness are kept.
        spacing_mm: its voxel size.

    >>> image, mask = np.ones((6, 6, 6), np.float32), np.ones((6, 6, 6), np.uint8)
    >>> subject = Subject("case1", image, np.diag([1.0, 1, 1, 1]), mask=mask, registered=True)
    >>> subject = FieldOfView(shape=(2, 2, 2), spacing_mm=2.0)(subject)
    >>> subject.image.shape, subject.grid.shape, subject.grid.factor
    ((4, 4, 4), (2, 2, 2), 2)
    """

    shape: tuple[int, int, int] = (96, 96, 50)
    spacing_mm: float = 2.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if len(self.shape) != 3 or min(self.shape) < 1 or not self.spacing_mm > 0:
            raise ConfigError(f"preparation: shape {self.shape} and spacing {self.spacing_mm} mm must be positive")

    def __call__(self, subject: Subject) -> Subject:
        """Return the subject cut to the field of view, with the grid that it goes to."""
        if subject.is_flat != (self.shape[2] == 1):
            raise DataError(
                f"the image has {subject.image.shape[2]} slices, the model's grid {self.shape[2]}: a model of slices takes "
                "two-dimensional images, one of volumes takes volumes",
                case=subject.case,
            )
        factor = (
            self._registered_factor(subject) if subject.registered else whole_factor(subject.affine, self.spacing_mm)
        )
        return self._interpolated(subject) if factor is None or subject.is_flat else self._cut(subject, factor)

    def _cut(self, subject: Subject, factor: int) -> Subject:
        affine, brain = subject.affine, subject.brain
        shape = np.array(self.shape) * factor
        centred = np.array([start_index(have, want) for have, want in zip(brain.shape, shape, strict=True)])
        start = centred
        if not subject.registered:
            centre = np.append(_centre(brain, affine), 1)
            own = np.rint(np.linalg.inv(affine)[:3] @ centre - (shape - 1) / 2).astype(int)
            start = centred if np.all(np.abs(own - centred) * spacing_of(affine) <= CENTRED_MM) else own
        grid = affine.copy()
        grid[:3, 3] += affine[:3, :3] @ start
        target = TargetGrid(self.shape, halved_affine(grid) if factor == 2 else grid, factor)
        labels = subject.labels(lambda label: block(label, start, shape))
        return subject.replaced(image=block(subject.image, start, shape), **labels, affine=grid, grid=target)

    def _interpolated(self, subject: Subject) -> Subject:
        affine = subject.affine
        grid = np.diag([self.spacing_mm] * 3 + [1.0])
        if subject.is_flat:
            grid[:3, :3] = (
                affine[:3, :3] / spacing_of(affine) * [self.spacing_mm, self.spacing_mm, subject.spacing_mm[2]]
            )
            grid[:3, 3] = _centre(subject.brain, affine, 0.0) - grid[:3, :3] @ [
                *((n - 1) / 2 for n in self.shape[:2]),
                0,
            ]
        else:
            centre = _centre(subject.brain, affine) if subject.centre_mm is None else np.array(subject.centre_mm)
            grid[:3, 3] = centre - (np.array(self.shape) - 1) / 2 * self.spacing_mm
        to_scan = np.asarray(np.linalg.inv(affine) @ grid, dtype=np.float64)
        image, start = needed_part(subject.image, to_scan, self.shape)
        labels = subject.labels(lambda label: needed_part(label, to_scan, self.shape)[0])
        cut = affine.copy()
        cut[:3, 3] += affine[:3, :3] @ start
        target = TargetGrid(self.shape, grid, None)
        return subject.replaced(image=image, **labels, affine=cut, grid=target)

    def _registered_factor(self, subject: Subject) -> int:
        for factor in (1, 2):
            wanted = self.spacing_mm / factor
            if np.allclose(subject.spacing_mm[: 2 if subject.is_flat else 3], wanted, rtol=_REGISTERED_SPACING, atol=0):
                return factor
        found = " x ".join(f"{s:.3g}" for s in subject.spacing_mm)
        raise DataError(
            f"the spacing is {found} mm, expected {self.spacing_mm / 2:g} or {self.spacing_mm:g} mm in all axes: the scan "
            "was not registered to the atlas grid, so its brain would have another size than those in training. "
            "Register it (SRI24, 1 mm) first",
            case=subject.case,
        )


def whole_factor(affine: Affine, spacing_mm: float) -> int | None:
    """Return 1 or 2 if the scan's voxels are the grid's or their halves and its axes the world's, else None."""
    spacing = spacing_of(affine)
    if np.abs(affine[:3, :3] / spacing - np.eye(3)).max() > _ALIGNED:
        return None
    return next((f for f in (1, 2) if np.allclose(spacing * f, spacing_mm, rtol=_ALIGNED, atol=0)), None)


def _centre(brain: NDArray[Any], affine: Affine, offset_mm: Affine | float = CENTRE_OFFSET_MM) -> Affine:
    """Return where the grid's centre belongs (world, mm): extremes of a linear function lie at the ends of lines."""
    x, y = np.nonzero(brain.any(axis=2))
    lines = brain[x, y]
    first, last = lines.argmax(axis=1), brain.shape[2] - 1 - lines[:, ::-1].argmax(axis=1)
    points = np.stack([np.tile(x, 2), np.tile(y, 2), np.concatenate([first, last])])
    world = affine[:3, :3] @ points + affine[:3, 3:]
    return (world.min(axis=1) + world.max(axis=1)) / 2 + offset_mm  # type: ignore[no-any-return]
