# SPDX-License-Identifier: Apache-2.0
"""How well a network reconstructs a scan: l1, SSIM and PSNR on healthy scans, and l1 in lesions over l1 elsewhere.

Conditioned-DDPM (Behrendt et al., arXiv 2312.04215) reports them in its Table 2; no code of theirs for SSIM and PSNR
is public. Here SSIM is scikit-image's mean structural similarity with the settings of Wang et al. (IEEE TIP 2004):
Gaussian window of sigma 1.5 voxels, biased covariance, 3-D, data range 1 (intensities are in [0, 1]). "Whole" includes
the background, as the released code does, which flatters every method alike; "_brain" is the mean over the brain mask.
A good reconstruction is no good detection: in that table the DAE has the best SSIM, and not the best Dice. Its study of
robustness compares histograms of intensities by ``entropy_difference``, which it calls KLD.
"""

import math

import numpy as np
from skimage.metrics import structural_similarity

from ..core.errors import DataError
from .arrays import Array, to_mask, to_scores

_BINS = 500
_WINDOW = 11  # voxels of the Gaussian window of sigma 1.5, cut at 3.5 sigma


def reconstruction_metrics(image: Array, reconstruction: Array, brain_mask: Array) -> dict[str, float | None]:
    """Return l1, SSIM and PSNR (dB) of one volume over the whole grid and inside the brain (``_brain``), and ``entropy_difference``.

    Args:
        image: ``[X, Y, Z]`` in [0, 1], at least 11 voxels along every axis.
        reconstruction: same shape.
        brain_mask: same shape, > 0 = brain, not empty.

    Returns:
        PSNR is None where both agree exactly (it would be infinite).
    """
    x, y = to_scores(image, "image").astype(np.float64), to_scores(reconstruction, "reconstruction").astype(np.float64)
    brain = to_mask(brain_mask, x.shape, "brain mask")
    if x.shape != y.shape or x.ndim != 3 or min(x.shape) < _WINDOW or not brain.any():
        raise DataError(
            f"Reconstruction metrics need two volumes [X, Y, Z] of one shape, at least {_WINDOW} voxels along every axis, and a "
            f"brain mask that is not empty, got {list(x.shape)}, {list(y.shape)} and {int(brain.sum())} brain voxels."
        )
    mean_ssim, ssim = structural_similarity(
        x, y, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    residual = np.abs(x - y)
    return {
        "l1": float(residual.mean()),
        "l1_brain": float(residual[brain].mean()),
        "ssim": float(mean_ssim),
        "ssim_brain": float(ssim[brain].mean()),
        "psnr": _psnr(float((residual**2).mean())),
        "psnr_brain": _psnr(float((residual[brain] ** 2).mean())),
        "entropy_difference": entropy_difference(x[brain], y[brain]),
    }


def entropy_difference(image: Array, reconstruction: Array) -> float:
    """Return the entropy of the intensities of ``image`` minus that of ``reconstruction``, in nats; 0 for equal histograms.

    Both are of any shape and clipped to [0, 1]; histograms have 500 bins.

    >>> entropy_difference(np.linspace(0, 1, 1000), np.zeros(1000)) == -entropy_difference(np.zeros(9), np.linspace(0, 1, 1000))
    True
    """
    entropies = []
    for values in (image, reconstruction):
        counts = np.histogram(np.clip(values, 0, 1), bins=_BINS, range=(0, 1))[0]
        share = counts[counts > 0] / counts.sum()
        entropies.append(float(-(share * np.log(share)).sum()))
    return entropies[0] - entropies[1]


def _psnr(mean_squared_error: float) -> float | None:
    """10 log10(1 / MSE) for a data range of 1."""
    return -10 * math.log10(mean_squared_error) if mean_squared_error > 0 else None


def l1_ratio(image: Array, reconstruction: Array, truth: Array, brain_mask: Array) -> float | None:
    """Mean l1 in lesion voxels over mean l1 in the other brain voxels; > 1 means lesions are reconstructed worse.

    None if either kind of voxel is missing or the healthy part is reconstructed without any error.
    """
    residual = np.abs(to_scores(image, "image") - to_scores(reconstruction, "reconstruction"))
    brain = to_mask(brain_mask, residual.shape, "brain mask")
    lesion = to_mask(truth, residual.shape) & brain
    rest = brain & ~lesion
    if not lesion.any() or not rest.any():
        return None
    healthy = float(residual[rest].mean(dtype=np.float64))
    return float(residual[lesion].mean(dtype=np.float64)) / healthy if healthy > 0 else None
