# SPDX-License-Identifier: Apache-2.0
"""Slow, independent post-processing: scipy and scikit-image step by step, a Python loop over components."""

import numpy as np
from scipy import ndimage
from skimage.measure import label, regionprops


def erode_axial(mask: np.ndarray, iterations: int) -> np.ndarray:
    """2-D binary erosion with the cross, slice by slice."""
    eroded = np.zeros(mask.shape, dtype=bool)
    for z in range(mask.shape[2]):
        eroded[:, :, z] = (
            ndimage.binary_erosion(mask[:, :, z] > 0, iterations=iterations) if iterations else mask[:, :, z] > 0
        )
    return eroded


def median(anomaly_map: np.ndarray, size: int | tuple[int, ...]) -> np.ndarray:
    return ndimage.median_filter(anomaly_map, size=size, mode="reflect")


def remove_small(binary: np.ndarray, max_size: int) -> np.ndarray:
    kept = binary.astype(bool).copy()
    for region in regionprops(label(binary.astype(bool), connectivity=3)):
        if region.area_filled <= max_size:
            kept[tuple(region.coords.T)] = False
    return kept


def released_chain(anomaly_map: np.ndarray, mask: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Section 5 of the method: mask, erosion (shape[1] // 25), median 5, > threshold, components of 7 voxels or fewer."""
    prepared = anomaly_map * (mask > 0) * erode_axial(mask, anomaly_map.shape[1] // 25)
    prepared = median(prepared.astype(anomaly_map.dtype), 5)
    return prepared, remove_small(prepared > threshold, 7)
