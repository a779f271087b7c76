# SPDX-License-Identifier: Apache-2.0
"""How well a volume is reconstructed: l1, PSNR, SSIM (scikit-image), and the l1 ratio of anomalous to normal tissue.

Images are in [0, 1]; the data range is fixed at 1. ``*_whole`` covers the whole grid with its background (what the
papers' code averages), the others the brain mask. A good healthy reconstruction is no proof of a good anomaly map.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

Array = NDArray[Any]


def reconstruction_metrics(image: Array, reconstruction: Array, mask: Array, seg: Array) -> dict[str, float | None]:
    """Return the metrics of one case; all arrays ``[X, Y, Z]``.

    Keys: ``l1_whole``, ``l1_brain``, ``psnr_brain`` (dB; None for a perfect copy), ``ssim_whole`` (Gaussian window of
    sigma 1.5, Wang et al. 2004) and ``l1_ratio`` (mean l1 inside the segmentation over that of the other brain
    voxels; None for healthy scans).
    """
    difference = np.abs(np.asarray(image, np.float64) - np.asarray(reconstruction, np.float64))
    brain, lesion = np.asarray(mask) > 0, np.asarray(seg) > 0
    inside, healthy = difference[brain], difference[brain & ~lesion]
    squared = float(np.mean(inside**2)) if inside.size else float("nan")
    ratio = None
    if lesion.any() and healthy.size and healthy.mean() > 0:
        ratio = float(difference[lesion].mean() / healthy.mean())
    similarity = structural_similarity(
        np.asarray(image, np.float32), np.asarray(reconstruction, np.float32),
        data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    return {
        "l1_whole": float(difference.mean()),
        "l1_brain": float(inside.mean()) if inside.size else None,
        "psnr_brain": -10 * float(np.log10(squared)) if squared > 0 else None,
        "ssim_whole": float(similarity),
        "l1_ratio": ratio,
    }
