# SPDX-License-Identifier: Apache-2.0
"""What travels through the steps of a preparation: an image, what is brain, what is diseased, and where all that lies."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..volumes.resampling import Affine, Floats, spacing_of

Mask = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class TargetGrid:
    """The grid that :class:`~custom.preparation.to_grid.ToGrid` brings a subject to.

    Attributes:
        shape: voxels.
        affine: voxels to world (mm).
        factor: 1 or 2 if the subject's voxels are those of the grid or halves of them, else None (interpolation).

    >>> grid = TargetGrid((96, 96, 50), np.diag([2.0, 2, 2, 1]), factor=2)
    >>> spacing_of(grid.affine).tolist()
    [2.0, 2.0, 2.0]
    """

    shape: tuple[int, int, int]
    affine: Affine
    factor: int | None


@dataclass(frozen=True, eq=False)
class Subject:
    """A scan between two steps; steps return a new one (:meth:`replaced`) and change no array in place.

    Attributes:
        case: name put in front of errors.
        image: float32 ``[X, Y, Z]``; ``[X, Y, 1]`` for a two-dimensional image.
        affine: voxels to world (RAS, mm).
        mask: brain, 0 or 1; None as long as nobody knows.
        truth_mask: diseased tissue, 0 or 1, or None.
        truth_boxes: corners ``[n, 2, 3]`` of boxes around findings in world coordinates (mm), or None; a registration moves them.
        registered: the scan claims to lie on the atlas grid (scans of a cohort): another spacing is then an error and
            the field of view is the centre of the scan. Others are placed by their brain and interpolated.
        notes: what a reader of the report should know.
        to_scan_world: current world to the world of the scan's file; a registration changes it.
        brain_ml: volume of the brain mask on the scan's own grid, also outside the field of view.
        grid: where the subject goes, once :class:`~custom.preparation.field_of_view.FieldOfView` has chosen.
        intensity_range: intensities that became 0 and 1, once they are scaled.
        centre_mm: where the centre of the model's grid belongs in the current world; None: around the brain.
        record: what steps measured and used, by name (JSON values); it ends in the result's files.

    >>> subject = Subject("case1", np.zeros((4, 4, 4), np.float32), np.diag([1.0, 1, 2, 1]))
    >>> brighter = subject.replaced(image=subject.image + 1, notes=("brightened",)).recorded("brighten", {"by": 1})
    >>> brighter.spacing_mm, brighter.notes, dict(brighter.record)
    ((1.0, 1.0, 2.0), ('brightened',), {'brighten': {'by': 1}})
    """

    case: str
    image: Floats
    affine: Affine
    mask: Mask | None = None
    truth_mask: Mask | None = None
    truth_boxes: NDArray[np.float64] | None = None
    registered: bool = False
    notes: tuple[str, ...] = ()
    to_scan_world: Affine = field(default_factory=lambda: np.eye(4))
    brain_ml: float = 0.0
    grid: TargetGrid | None = None
    intensity_range: tuple[float, float] = (0.0, 1.0)
    centre_mm: tuple[float, float, float] | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along the array axes."""
        x, y, z = (float(s) for s in spacing_of(self.affine))
        return x, y, z

    @property
    def is_flat(self) -> bool:
        """Whether the image is two-dimensional (``[X, Y, 1]``)."""
        return bool(self.image.shape[2] == 1)

    @property
    def brain(self) -> Mask:
        """The brain mask, which :class:`~custom.preparation.brain.BrainMask` has made sure of."""
        if self.mask is None:
            raise ValueError("no brain mask yet: put BrainMask before this step")
        return self.mask

    def labels(self, change: Callable[[Mask], Any]) -> dict[str, Any]:
        """Return brain mask and truth after ``change``, None where there is none: values for :meth:`replaced`."""
        labels = {"mask": self.mask, "truth_mask": self.truth_mask}
        return {name: None if label is None else change(label) for name, label in labels.items()}

    def replaced(self, notes: tuple[str, ...] = (), **changes: Any) -> "Subject":
        """Return a subject with other values; ``notes`` are added to those that are there."""
        return dataclasses.replace(self, notes=(*self.notes, *notes), **changes)

    def recorded(self, name: str, values: Mapping[str, Any]) -> "Subject":
        """Return the subject with an entry more in its record."""
        return dataclasses.replace(self, record={**self.record, name: dict(values)})


class Step(Protocol):
    """One step of a preparation: a frozen dataclass whose fields are JSON values or other such dataclasses.

    >>> @dataclass(frozen=True)
    ... class Darken:
    ...     factor: float = 0.5
    ...     def __call__(self, subject):
    ...         return subject.replaced(image=subject.image * np.float32(self.factor))
    >>> float(Darken()(Subject("case1", np.ones((2, 2, 2), np.float32), np.eye(4))).image.max())
    0.5
    """

    def __call__(self, subject: Subject) -> Subject:
        """Return the subject after this step; raise a ``DataError`` if it cannot be used."""
