# SPDX-License-Identifier: Apache-2.0
"""Is this scan like those the model was trained on? Warnings for the report, none of them stops anything.

The reference, made of healthy scans on the model's grid and stored with the model, has two parts: the mean cumulative
histogram of the intensities inside the brain, and a mean picture in blocks of 4x4x4 voxels. A scan is compared by the
1-Wasserstein distance of the histograms (area between the cumulative ones) and by the correlation with the picture. The
limits come from the healthy scans themselves, each compared with the reference made of the others:
twice the 95th percentile of the distance, half of the 5th percentile of the correlation. On real scans (reference: 60
of IXI, T1; 70 others) the correlation was 0.80 and more for further healthy T1, 0.63 and 0.70 for T1 of two patients of
other sites, 0.33 and 0.37 for their FLAIR and below 0 for their T2; the histogram alone does not see a FLAIR scan.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError

BINS = 64
BLOCK = (4, 4, 4)
THICK_SLICE_MM = 3.0
BRAIN_ML = (900.0, 1900.0)
MAX_OUTSIDE = 0.15
Floats = NDArray[np.float64]


def build_reference(scans: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> dict[str, Any]:
    """Return the reference (JSON values) of healthy scans: pairs of image in [0, 1] and mask ``[X, Y, Z]``.

    Raises:
        DataError: fewer than three scans.
    """
    curves, pictures = [], []
    for image, mask in scans:
        curves.append(_cumulative(image, mask))
        pictures.append(_blocks(image, mask))
    if len(curves) < 3:
        raise DataError(f"{len(curves)} healthy scans are too few for a reference; at least 3 are needed")
    curve, picture = np.array(curves), np.array(pictures)
    distances, correlations = [], []
    for i in range(len(curve)):
        others = np.arange(len(curve)) != i
        distances.append(_distance(curve[i], curve[others].mean(axis=0)))
        correlations.append(_correlation(picture[i], _mean_of(picture[others])))
    mean = _mean_of(picture)
    return {
        "n": len(curve),
        "cumulative_histogram": np.round(curve.mean(axis=0), 5).tolist(),
        "picture_shape": list(mean.shape),
        "picture": [None if np.isnan(v) else round(float(v), 2) for v in mean.ravel()],
        "max_distance": round(2 * float(np.percentile(distances, 95)), 5),
        "min_correlation": round(0.5 * max(float(np.percentile(correlations, 5)), 0.0), 4),
    }


def compare(image: NDArray[Any], mask: NDArray[Any], reference: Mapping[str, Any]) -> dict[str, float]:
    """Return ``distance`` and ``correlation`` of a scan on the model's grid to the reference."""
    curve = np.array(reference["cumulative_histogram"])
    return {
        "distance": _distance(_cumulative(image, mask, len(curve)), curve),
        "correlation": _correlation(_blocks(image, mask), mean_picture(reference)),
    }


def mean_picture(reference: Mapping[str, Any]) -> Floats:
    """Return the mean healthy brain of a reference in blocks ``[X, Y, Z]``, NaN outside the brain."""
    values = [np.nan if value is None else value for value in reference["picture"]]
    return np.asarray(values, dtype=np.float64).reshape(reference["picture_shape"])


def quality_warnings(
    image: NDArray[Any],
    mask: NDArray[Any],
    grid_spacing_mm: float,
    scan_spacing_mm: Sequence[float],
    mask_ml: float,
    reference: Mapping[str, Any] | None,
) -> list[str]:
    """Return one sentence for each doubt about a scan.

    ``image`` (in [0, 1]) and brain ``mask`` lie on the model's grid; ``mask_ml`` is the volume of the mask in the scan;
    ``reference`` is that of :func:`build_reference`, None if the model has none.
    """
    warnings = []
    thickest = max(scan_spacing_mm)
    if thickest > THICK_SLICE_MM:
        warnings.append(f"slices of {thickest:.1f} mm: the model knows scans up to {THICK_SLICE_MM:g} mm only")
    if not BRAIN_ML[0] <= mask_ml <= BRAIN_ML[1]:
        warnings.append(f"the brain mask has {mask_ml:.0f} ml, expected {BRAIN_ML[0]:.0f} to {BRAIN_ML[1]:.0f} ml")
    outside = 1 - float((mask > 0).sum()) * grid_spacing_mm**3 / 1000 / mask_ml
    if outside > MAX_OUTSIDE:
        warnings.append(f"{outside:.0%} of the brain lie outside the model's field of view and were not examined")
    height = np.flatnonzero((mask > 0).any(axis=(0, 1)))
    if len(height) and len(height) < 0.8 * mask.shape[2]:
        warnings.append(
            f"the brain is only {len(height) * grid_spacing_mm:.0f} mm high: the field of view looks cropped"
        )
    if reference is None:
        return [*warnings, "the model has no reference histogram: contrast and intensities were not checked"]
    found = compare(image, mask, reference)
    if found["correlation"] < reference["min_correlation"]:
        warnings.append(
            f"this does not look like the contrast that the model was trained on (correlation {found['correlation']:.2f}, "
            f"expected at least {reference['min_correlation']:.2f}): the map may mean nothing"
        )
    if found["distance"] > reference["max_distance"]:
        warnings.append(
            f"intensities far from those of the training scans (distance {found['distance']:.3f}, usual up to "
            f"{reference['max_distance']:.3f})"
        )
    return warnings


def _cumulative(image: NDArray[Any], mask: NDArray[Any], bins: int = BINS) -> Floats:
    values = image[mask > 0]
    return np.cumsum(np.histogram(values, bins=bins, range=(0, 1))[0]) / max(values.size, 1)


def _distance(first: Floats, second: Floats) -> float:
    return float(np.abs(first - second).mean())


def _blocks(image: NDArray[Any], mask: NDArray[Any]) -> Floats:
    """Return the mean intensity of the brain in blocks; NaN where less than half of a block is brain."""
    weight = block_means(mask > 0)
    return np.where(weight > 0.5, block_means(image * (mask > 0)) / np.maximum(weight, 1e-6), np.nan)


def block_means(array: NDArray[Any]) -> Floats:
    """Return the means of blocks of :data:`BLOCK` pixels or voxels; what fills no block is left out."""
    sizes = [(n // b, b) for n, b in zip(array.shape, BLOCK, strict=False)]
    whole = array[tuple(slice(count * b) for count, b in sizes)]
    cells = whole.reshape([n for size in sizes for n in size])
    return np.asarray(cells.mean(axis=tuple(range(1, cells.ndim, 2)), dtype=np.float64))


def _mean_of(pictures: Floats) -> Floats:
    """Return the mean over scans where at least half of them have brain."""
    count = np.isfinite(pictures).sum(axis=0)
    total = np.nansum(pictures, axis=0)
    return np.where(count * 2 >= len(pictures), total / np.maximum(count, 1), np.nan)


def _correlation(first: Floats, second: Floats) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 10 or first[both].std() == 0 or second[both].std() == 0:
        return 0.0
    return float(np.corrcoef(first[both], second[both])[0, 1])
