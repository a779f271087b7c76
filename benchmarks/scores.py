# SPDX-License-Identifier: Apache-2.0
"""SSIM-ens maps in 3-D: width by width banded matrix products against dense windows and library routines."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from benchmarks.harness import Candidate, Subject, peer
from benchmarks.phantoms import WORKING_GRID, head
from custom.scoring import SSIMEnsemble

SIGMAS = [0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7]
K1, K2 = 0.01, 0.03


def merged(maps: Sequence[Tensor]) -> Tensor:
    """Return 1 - Σ softmax(-S)_i S_i."""
    stack = torch.stack(list(maps))
    return 1 - (torch.softmax(-stack, dim=0) * stack).sum(dim=0)


def width_of(sigma: float) -> int:
    """Return the window width of the papers' code, 3.5 sigma to either side."""
    return 2 * int(3.5 * sigma + 0.5) + 1


def ssim_by(mean: Callable[[Tensor, float], Tensor], x: Tensor, y: Tensor, sigma: float, data_range: float) -> Tensor:
    """Return the SSIM map (Wang et al. 2004) for any way to take local means."""
    mx, my, xx, yy, xy = (mean(volume, sigma) for volume in (x, y, x * x, y * y, x * y))
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    return luminance * (2 * (xy - mx * my) + c2) / (xx - mx**2 + yy - my**2 + c2)


def dense_mean(volume: Tensor, sigma: float) -> Tensor:
    """Local mean with a dense k x k x k window, mirrored borders."""
    radius = width_of(sigma) // 2
    weights = torch.exp(-(torch.arange(-radius, radius + 1, dtype=volume.dtype) ** 2) / (2 * sigma**2))
    weights = weights / weights.sum()
    kernel = torch.einsum("i,j,k->ijk", weights, weights, weights)[None, None]
    return F.conv3d(F.pad(volume[None, None], [radius] * 6, mode="reflect"), kernel)[0, 0]


def scipy_mean(volume: Tensor, sigma: float) -> Tensor:
    """Local mean by scipy's separable filter."""
    return torch.from_numpy(ndimage.gaussian_filter(volume.numpy(), sigma, mode="mirror", radius=width_of(sigma) // 2))


def subjects(shape: tuple[int, int, int] = WORKING_GRID, full: bool = True) -> Sequence[Subject]:
    """Return the score of one volume; ``full`` adds the dense peers, which take seconds."""
    x, y, _, _ = head(0, shape)
    data_range = max(float(v.max() - v.min()) for v in (x, y))
    score = SSIMEnsemble(SIGMAS)
    border = width_of(max(SIGMAS)) // 2
    inner = (slice(border, -border),) * 3

    def whole(result: Tensor, own: Tensor) -> float:
        return float((result - own).abs().max())

    def interior(result: Tensor, own: Tensor) -> float:
        return float((result - own)[inner].abs().max())

    def by(mean: Callable[[Tensor, float], Tensor]) -> Callable[[], Tensor]:
        return lambda: merged([ssim_by(mean, x, y, sigma, data_range) for sigma in SIGMAS])

    def skimage(module: Any) -> Candidate:
        def one(sigma: float) -> Tensor:
            _, found = module.structural_similarity(
                x.numpy(), y.numpy(), data_range=data_range, gaussian_weights=True, sigma=sigma, use_sample_covariance=False,
                win_size=width_of(sigma), K1=K1, K2=K2, full=True,
            )  # fmt: skip
            return torch.from_numpy(found)

        return Candidate(
            "scikit-image, width by width",
            lambda: merged([one(s) for s in SIGMAS]),
            interior,
            5e-4,
            "interior; pads otherwise",
        )

    def torchmetrics(module: Any) -> Candidate:
        def one(sigma: float) -> Tensor:
            _, found = module.structural_similarity_index_measure(
                x[None, None], y[None, None], sigma=sigma, kernel_size=width_of(sigma), data_range=data_range, k1=K1, k2=K2,
                return_full_image=True,
            )  # fmt: skip
            return found[0, 0]

        return Candidate(
            "torchmetrics, 3-D", lambda: merged([one(s) for s in SIGMAS]), interior, 2e-3, "interior; float32 variances"
        )

    def monai(module: Any) -> Candidate:
        def one(sigma: float) -> Tensor:
            radius = width_of(sigma) // 2
            padded = [F.pad(v[None, None], [radius] * 6, mode="reflect") for v in (x, y)]
            found, _ = module.compute_ssim_and_cs(
                padded[0], padded[1], spatial_dims=3, kernel_size=[width_of(sigma)] * 3, kernel_sigma=[sigma] * 3,
                data_range=data_range, k1=K1, k2=K2,
            )  # fmt: skip
            return found[0, 0]

        return Candidate(
            "MONAI compute_ssim_and_cs", lambda: merged([one(s) for s in SIGMAS]), whole, 2e-3, "padded by hand"
        )

    candidates = [
        Candidate("ours", lambda: score(x, y)),
        Candidate("scipy gaussian_filter", by(scipy_mean), whole, 5e-4, "best library route"),
        peer("skimage.metrics", "scikit-image, width by width", skimage),
    ]
    if full:
        candidates += [
            Candidate("dense 3-D windows (torch)", by(dense_mean), whole, 2e-3, "float32 variances"),
            peer("monai.metrics.regression", "MONAI compute_ssim_and_cs", monai),
            peer("torchmetrics.functional.image", "torchmetrics, 3-D", torchmetrics),
        ]
    return [Subject(f"SSIM-ens, {len(SIGMAS)} widths, {' x '.join(map(str, shape))}", candidates, 3, "at least 30x the dense formulation, 1x scipy, 1.3x scikit-image")]  # fmt: skip
