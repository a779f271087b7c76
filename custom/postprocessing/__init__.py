# SPDX-License-Identifier: Apache-2.0
"""From raw anomaly maps to segmentations: brain mask, erosion of its rim, median filter, threshold, small components.

The steps stand alone as functions on torch tensors ``[X, Y, Z]`` (axial = last axis, any device);
:class:`PostProcessing` puts them in an order. Presets: :func:`isbi2024` (voxels, as published), :func:`in_mm` (the same
at 2 mm, but of one size at every spacing; the default) and :func:`none`.
"""

from .components import remove_small_components
from .erosion import erode_mask_axial, radius_to_iterations
from .median import median_filter, width_to_voxels
from .pipeline import PostProcessing, in_mm, isbi2024, none

__all__ = [
    "PostProcessing",
    "erode_mask_axial",
    "in_mm",
    "isbi2024",
    "median_filter",
    "none",
    "radius_to_iterations",
    "remove_small_components",
    "width_to_voxels",
]
