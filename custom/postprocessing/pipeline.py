# SPDX-License-Identifier: Apache-2.0
"""The chain from an anomaly map to a segmentation, and its presets.

``prepare``: brain mask, erosion and median in a stated order; thresholds are searched on its result. ``binarise``: the
voxels strictly above the threshold, without small components. Sizes are given in mm (converted at the case's spacing)
or in voxels, one or the other. Sources: Behrendt et al., ISBI 2024; the *text* filters before it erodes, the *released
code* (default here) erodes before it filters and does not mask again, so the filtered map may spill over the rim.
Deviation: a fractional mask counts as inside wherever it is > 0, the code multiplies by its value. Checked against a
chain of scipy and scikit-image calls.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.errors import ConfigError, DataError
from .components import remove_small_components
from .erosion import erode_mask_axial, radius_to_iterations
from .median import median_filter, width_to_voxels

Step = Literal["mask", "erosion", "median"]
RELEASED_CODE_ORDER: tuple[Step, ...] = ("mask", "erosion", "median")
_OPTIONS = {
    "erosion": ("erosion_mm", "erosion_iterations", "erosion_width_divisor"),
    "median": ("median_mm", "median_voxels"),
    "components": ("component_mm3", "component_voxels"),
}


@dataclass(frozen=True)
class PostProcessing:
    """Post-processing of one case at a time; a step happens if it is in ``order`` (components: if a size is given).

    Args:
        order: steps of ``prepare``, each at most once.
        erosion_mm: rim taken off the mask in-plane; or
        erosion_iterations: steps of the cross; or
        erosion_width_divisor: iterations = size of the second axis (Y, voxels) // divisor, the released code's rule.
        median_mm: window width; or
        median_voxels: odd window width in voxels.
        component_mm3: largest volume that is removed; or
        component_voxels: largest number of voxels that is removed.
        name: how reports call the chain.

    >>> chain = PostProcessing(order=["mask"], component_voxels=3)
    >>> scores, mask = torch.ones(6, 6, 6), torch.zeros(6, 6, 6)
    >>> mask[2:4] = 1
    >>> float(chain.prepare(scores, mask, (2.0, 2.0, 2.0)).sum())
    72.0
    """

    order: Sequence[Step] = RELEASED_CODE_ORDER
    erosion_mm: float | None = None
    erosion_iterations: int | None = None
    erosion_width_divisor: int | None = None
    median_mm: float | None = None
    median_voxels: int | None = None
    component_mm3: float | None = None
    component_voxels: int | None = None
    name: str = "custom"

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", tuple(self.order))
        unknown = sorted(set(self.order) - {"mask", "erosion", "median"})
        if unknown or len(set(self.order)) < len(self.order):
            raise ConfigError(
                f"Post-processing steps are mask, erosion and median, each at most once, got order {list(self.order)}."
            )
        for step, options in _OPTIONS.items():
            given = {option: value for option in options if (value := getattr(self, option)) is not None}
            needed = step in self.order or (step == "components" and len(given) > 0)
            if len(given) != needed or not all(0 < value < math.inf for value in given.values()):
                raise ConfigError(
                    f"Post-processing step {step!r} is {'on' if needed else 'not in the order'} and got {given}: give "
                    f"exactly one of {', '.join(options)} with a value > 0 if it is on, none if it is off."
                )
            for option, value in given.items():
                if not option.endswith(("_mm", "_mm3")) and value != int(value):
                    raise ConfigError(f"{option} counts voxels or steps and must be a whole number, got {value}.")
        if self.median_voxels is not None and self.median_voxels % 2 == 0:
            raise ConfigError(
                f"A median window has a middle voxel: median_voxels must be odd, got {self.median_voxels}."
            )

    def _iterations(self, shape: torch.Size, spacing_mm: Sequence[float]) -> int:
        if self.erosion_mm is not None:
            return radius_to_iterations(self.erosion_mm, spacing_mm)
        if self.erosion_width_divisor is not None:
            return int(shape[1] // self.erosion_width_divisor)
        return int(self.erosion_iterations or 0)

    def _median_widths(self, spacing_mm: Sequence[float]) -> Sequence[int] | int:
        return int(self.median_voxels or 1) if self.median_mm is None else width_to_voxels(self.median_mm, spacing_mm)

    def largest_removed(self, voxel_mm3: float) -> int:
        """Return the number of voxels of this volume up to which a component is removed; 0 where none is."""
        if self.component_mm3 is not None:
            return int(self.component_mm3 / voxel_mm3 + 1e-6)
        return int(self.component_voxels or 0)

    def prepare(self, anomaly_map: Tensor, mask: Tensor, spacing_mm: Sequence[float]) -> Tensor:
        """Masked, eroded and filtered map ``[X, Y, Z]``, in the chain's order.

        Args:
            anomaly_map: floating ``[X, Y, Z]``.
            mask: brain mask of the same shape, inside where > 0.
            spacing_mm: voxel size along X, Y, Z.

        Raises:
            DataError: shapes differ, the brain mask is empty, or a median meets NaN.
        """
        if anomaly_map.shape != mask.shape or anomaly_map.ndim != 3:
            raise DataError(
                f"Post-processing takes one map [X, Y, Z] and its brain mask on the same grid, got "
                f"{list(anomaly_map.shape)} and {list(mask.shape)}. Resample the mask with the image."
            )
        spacing = _checked_spacing(spacing_mm)
        prepared, brain = anomaly_map.as_subclass(Tensor), mask.as_subclass(Tensor).to(anomaly_map.device) > 0
        if self.order and not brain.any():
            raise DataError("The brain mask is empty: there is nothing to score. Check the mask file.")
        for step in self.order:
            if step == "median":
                prepared = median_filter(prepared, self._median_widths(spacing))
            else:
                inside = brain if step == "mask" else erode_mask_axial(brain, self._iterations(brain.shape, spacing))
                prepared = torch.where(inside, prepared, 0)
        return prepared

    def binarise(self, anomaly_map: Tensor, threshold: float, spacing_mm: Sequence[float]) -> Tensor:
        """Segmentation, bool ``[X, Y, Z]``: ``anomaly_map > threshold`` without its small components."""
        spacing = _checked_spacing(spacing_mm)
        if math.isnan(threshold):
            raise ConfigError("The threshold is NaN: every segmentation would be empty. Search or set it again.")
        binary = anomaly_map.as_subclass(Tensor) > threshold
        return remove_small_components(binary, self.largest_removed(spacing[0] * spacing[1] * spacing[2]))

    def describe(self) -> dict[str, Any]:
        """Everything that decides a result, ready for JSON."""
        sizes = {option: getattr(self, option) for options in _OPTIONS.values() for option in options}
        sizes = {option: value for option, value in sizes.items() if value is not None}
        return {
            "name": self.name,
            "order": [
                *self.order,
                "threshold (>)",
                *(["components"] if set(sizes) & {*_OPTIONS["components"]} else []),
            ],
            **sizes,
            "erosion_element": "4-neighbour cross per axial slice, outside = background",
            "median_border": "reflect (edge repeated), not masked again",
            "component_connectivity": 26,
        }


def _checked_spacing(spacing_mm: Sequence[float]) -> tuple[float, ...]:
    spacing = tuple(float(value) for value in spacing_mm)
    if len(spacing) != 3 or not all(0 < value < math.inf for value in spacing):
        raise DataError(f"The voxel size must be three numbers > 0 in mm, got {list(spacing)}. Check the image header.")
    return spacing


def isbi2024() -> PostProcessing:
    """Behrendt et al., ISBI 2024, in voxels of its 96 x 96 x 50 grid: erosion shape[1] // 25 = 3, median 5³, components <= 7."""
    return PostProcessing(erosion_width_divisor=25, median_voxels=5, component_voxels=7, name="isbi2024")


def in_mm(order: Sequence[Step] = RELEASED_CODE_ORDER) -> PostProcessing:
    """The default: 6 mm erosion, 10 mm median, components <= 56 mm³; equal to ``isbi2024`` on its 2 mm grid."""
    return PostProcessing(order, erosion_mm=6.0, median_mm=10.0, component_mm3=56.0, name="in_mm")


def none() -> PostProcessing:
    """No erosion, no median, no removal of components: the brain mask only."""
    return PostProcessing(("mask",), name="none")
