# SPDX-License-Identifier: Apache-2.0
"""SSIM-ens: the anomaly score of Behrendt et al., ISBI 2024 (section 2.2).

SSIM maps S_i at several window widths sigma_i are merged voxel by voxel, dissimilar ones weighing more:

    w_i(v) = exp(-S_i(v)) / Σ_j exp(-S_j(v)),    score(v) = 1 - Σ_i w_i(v) S_i(v)    in [0, 2]

``weighting="mean"`` gives the plain mean instead (the ablation). The paper's widths are 0.3, 0.5, ... 1.7 voxels of
2 mm; its code filters in 3-D. The maps are consumed one after the other (S is bounded, so the exponentials need no
shift), which keeps memory at a few volumes. Deviation: the score is clipped below at 0, where only rounding could bring
it. Checked against a dense 3-D convolution, an explicit softmax and golden values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..core.errors import ConfigError
from .reconstructions import Reconstructions
from .residual import check_pair
from .ssim import SSIM, DataRange, VolumePair, check_settings, per_item


class _Merger:
    """Running ``Σ e^{-S} S`` and ``Σ e^{-S}`` (softmax), or ``Σ S`` (mean), of the maps seen so far."""

    def __init__(self, weighting: str) -> None:
        self._softmax, self._count = weighting == "softmax", 0
        self._total: Tensor | None = None
        self._weights: Tensor | None = None

    def add(self, similarity: Tensor) -> None:
        self._count += 1
        if not self._softmax:
            self._total = similarity.clone() if self._total is None else self._total.add_(similarity)
            return
        weight = similarity.neg().exp_()
        if self._total is None or self._weights is None:
            self._total, self._weights = weight * similarity, weight
        else:
            self._total.addcmul_(weight, similarity)
            self._weights.add_(weight)

    def score(self) -> Tensor:
        assert self._total is not None
        merged = self._total.div_(self._weights) if self._weights is not None else self._total.div_(self._count)
        return merged.neg_().add_(1).clamp_(min=0)


@dataclass(frozen=True)
class SSIMEnsemble:
    """Scoring callable of SSIM-ens.

    Args:
        sigmas: window widths in voxels.
        weighting: "softmax" (the paper) or "mean".
        data_range: "auto" (the released code: per volume, from image and reconstruction) or a fixed number.
        spatial_dims: 3 (the released code) or 2 (windows within axial slices).
        k1: weight of the range in the luminance constant.
        k2: weight of the range in the contrast constant.

    >>> image, healthy = torch.zeros(8, 8, 8), torch.zeros(8, 8, 8)
    >>> image[4, 4, 4] = 1
    >>> scores = SSIMEnsemble((0.3, 0.9))(image, healthy)
    >>> scores.argmax() == image.argmax()
    tensor(True)
    """

    sigmas: Sequence[float]
    weighting: Literal["softmax", "mean"] = "softmax"
    data_range: DataRange = "auto"
    spatial_dims: int = 3
    k1: float = 0.01
    k2: float = 0.03

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigmas", tuple(float(sigma) for sigma in self.sigmas))
        check_settings(tuple(self.sigmas), self.data_range, self.spatial_dims)
        if self.weighting not in ("softmax", "mean"):
            raise ConfigError(f'The weighting of SSIM-ens is "softmax" or "mean", got {self.weighting!r}.')

    def pairs(self, image: Tensor, reconstruction: Tensor) -> Iterator[VolumePair]:
        """Yield the items of a batch, ready to be compared at any width."""
        for pair in zip(per_item(image), per_item(reconstruction), strict=True):
            yield VolumePair(*pair, self.data_range, self.spatial_dims, self.k1, self.k2)

    @torch.no_grad()
    def __call__(self, image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
        """Anomaly map in the shape of ``image``."""
        image, reconstruction = check_pair(image, reconstruction)
        scores = []
        for pair in self.pairs(image, reconstruction):
            merger = _Merger(self.weighting)
            for sigma in self.sigmas:
                merger.add(pair.ssim(sigma))
            scores.append(merger.score())
        return torch.stack(scores).view(image.shape)


@dataclass(frozen=True)
class SigmaSweep:
    """Every map of a sigma sweep at the cost of one ensemble (every sigma is filtered once).

    Args:
        ensemble: the ensemble whose widths are swept.

    >>> list(SigmaSweep(SSIMEnsemble((0.3, 0.9)))(torch.rand(8, 8, 8), torch.rand(8, 8, 8)))
    ['ssim_0.3', 'ssim_0.9', 'ssim_mean', 'ssim_ens']
    """

    ensemble: SSIMEnsemble

    @torch.no_grad()
    def __call__(self, image: Tensor, reconstruction: Tensor | Reconstructions) -> dict[str, Tensor]:
        """Return "ssim_0.3" ... (1 - SSIM at each width), "ssim_mean" and "ssim_ens" (softmax), whatever ``weighting`` is."""
        image, reconstruction = check_pair(image, reconstruction)
        sigmas = {f"ssim_{sigma:g}": sigma for sigma in self.ensemble.sigmas}
        maps: dict[str, list[Tensor]] = {name: [] for name in [*sigmas, "ssim_mean", "ssim_ens"]}
        for pair in self.ensemble.pairs(image, reconstruction):
            mean, softmax = _Merger("mean"), _Merger("softmax")
            for name, sigma in sigmas.items():
                similarity = pair.ssim(sigma)
                mean.add(similarity)
                softmax.add(similarity)
                maps[name].append(similarity.neg_().add_(1).clamp_(min=0))
            maps["ssim_mean"].append(mean.score())
            maps["ssim_ens"].append(softmax.score())
        return {name: torch.stack(items).view(image.shape) for name, items in maps.items()}

    def members(self) -> Mapping[str, SSIM | SSIMEnsemble]:
        """Return for every name the score that gives the same map, bit for bit, by itself."""
        own = self.ensemble
        single: dict[str, SSIM | SSIMEnsemble] = {
            f"ssim_{sigma:g}": SSIM(sigma, own.data_range, own.spatial_dims, own.k1, own.k2) for sigma in own.sigmas
        }
        return single | {"ssim_mean": replace(own, weighting="mean"), "ssim_ens": replace(own, weighting="softmax")}
