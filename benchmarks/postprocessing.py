# SPDX-License-Identifier: Apache-2.0
"""Erosion, 5x5x5 median and removal of small components against scipy, ITK, MONAI and scikit-image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from benchmarks.harness import Candidate, Subject, peer
from benchmarks.phantoms import WORKING_GRID, head
from custom.postprocessing.components import remove_small_components
from custom.postprocessing.erosion import erode_mask_axial
from custom.postprocessing.median import median_filter
from custom.scoring import SSIMEnsemble

WIDTH, MAX_VOXELS, EROSIONS = 5, 7, 3


def anomaly_map(shape: tuple[int, int, int]) -> Tensor:
    """Return a masked, eroded SSIM-ens map."""
    image, reconstruction, mask, _ = head(1, shape)
    return torch.where(erode_mask_axial(mask, 3), SSIMEnsemble([0.5, 1.1, 1.7])(image, reconstruction), 0)


def subjects(shape: tuple[int, int, int] = WORKING_GRID) -> Sequence[Subject]:
    """Return erosion of the mask, median and components of one map."""
    image, reconstruction, mask, _ = head(1, shape)
    found = anomaly_map(shape)
    raw = found.numpy()
    residual = (image - reconstruction).abs() * mask
    unfiltered = residual > torch.quantile(residual[residual > 0], 0.95)
    flagged = median_filter(found, WIDTH)
    flagged = flagged > torch.quantile(flagged[flagged > 0], 0.9)
    radius = WIDTH // 2
    inner = (slice(radius, -radius),) * 3

    def whole(result: Any, own: Tensor) -> float:
        return float(np.abs(np.asarray(result, np.float32) - own.numpy()).max())

    def interior(result: Any, own: Tensor) -> float:
        return float(np.abs(np.asarray(result, np.float32) - own.numpy())[inner].max())

    def itk(module: Any) -> Candidate:
        module.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(1)

        def run() -> Any:
            picture = module.image_from_array(raw)
            return module.array_from_image(module.median_image_filter(picture, radius=radius))

        return Candidate("ITK", run, interior, 0.0, "interior; other border")

    def simpleitk(module: Any) -> Candidate:
        module.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        run = lambda: module.GetArrayFromImage(module.Median(module.GetImageFromArray(raw), [radius] * 3))  # noqa: E731
        return Candidate("SimpleITK", run, interior, 0.0, "interior; other border")

    def monai(module: Any) -> Candidate:
        return Candidate(
            "MONAI median_filter",
            lambda: module.median_filter(found[None, None], [WIDTH] * 3)[0, 0],
            interior,
            0.0,
            "interior",
        )

    median = Subject(
        f"5x5x5 median of a brain map, {' x '.join(map(str, shape))}",
        [
            Candidate("ours", lambda: median_filter(found, WIDTH)),
            Candidate(
                "scipy.ndimage.median_filter", lambda: ndimage.median_filter(raw, WIDTH, mode="reflect"), whole, 0.0
            ),
            peer("itk", "ITK", itk),
            peer("SimpleITK", "SimpleITK", simpleitk),
            peer("monai.networks.layers", "MONAI median_filter", monai),
        ],
        3,
        "at least 1x scipy, bit for bit equal",
    )
    return [
        _erosion(mask),
        median,
        _components("after the median", flagged),
        _components("without a median, the worst case", unfiltered),
    ]


def _erosion(mask: Tensor) -> Subject:
    array, cross = mask.numpy(), ndimage.generate_binary_structure(3, 1)
    cross[:, :, [0, 2]] = False

    def different(result: Any, own: Tensor) -> float:
        return float((np.asarray(result) != own.numpy()).sum())

    def slice_by_slice() -> Any:
        slices = [ndimage.binary_erosion(array[:, :, z], iterations=EROSIONS) for z in range(array.shape[2])]
        return np.stack(slices, axis=2)

    return Subject(
        f"Brain mask eroded {EROSIONS} times within every axial slice",
        [
            Candidate("ours", lambda: erode_mask_axial(mask, EROSIONS)),
            Candidate("scipy, slice by slice", slice_by_slice, different, 0.0, "as in the papers"),
            Candidate("scipy, one 3-D call", lambda: ndimage.binary_erosion(array, cross, EROSIONS), different, 0.0),
        ],
        41,
        "at least 10x slice by slice, 2.5x one call, identical voxels",
    )


def _components(name: str, binary: Tensor) -> Subject:
    array = binary.numpy()

    def different(result: Any, own: Tensor) -> float:
        return float((np.asarray(result) != own.numpy()).sum())

    def bincount() -> Any:
        labels, _ = ndimage.label(array, np.ones((3, 3, 3)))
        keep = np.bincount(labels.ravel()) > MAX_VOXELS
        keep[0] = False
        return keep[labels]

    def loop(module: Any) -> Candidate:
        def run() -> Any:
            kept = array.copy()
            for region in module.regionprops(module.label(array, connectivity=3)):
                if region.area_filled <= MAX_VOXELS:
                    kept[tuple(region.coords.T)] = False
            return kept

        return Candidate(
            "scikit-image label + regionprops loop", run, different, 0.0, "by filled size, as in the papers"
        )

    def remove(module: Any) -> Candidate:
        return Candidate(
            "scikit-image remove_small_objects",
            lambda: module.remove_small_objects(array, max_size=MAX_VOXELS, connectivity=3), different, 0.0,
        )  # fmt: skip

    return Subject(
        f"Components of at most {MAX_VOXELS} voxels removed, {ndimage.label(array, np.ones((3, 3, 3)))[1]} of them, {name}",
        [
            Candidate("ours", lambda: remove_small_components(binary, MAX_VOXELS)),
            Candidate("scipy label + bincount", bincount, different, 0.0),
            peer("skimage.morphology", "scikit-image remove_small_objects", remove),
            peer("skimage.measure", "scikit-image label + regionprops loop", loop),
        ],
        5,
        "at least 2x the loop (50x in the worst case), identical voxels",
    )
