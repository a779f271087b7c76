# SPDX-License-Identifier: Apache-2.0
"""The whole way from a scan on the model's grid to its anomaly map, as one inferer.

Called as MONAI's evaluators and MONAI Label call inferers, with inputs and network and nothing else: the brain mask is
the second input channel. Nothing is kept between calls, and the noise is seeded by a fixed key instead of the place in
a batch or the name of a file, so a map is a function of voxels, mask, model and settings alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor, nn

from ..core.errors import DataError
from ..scoring import Reconstructions, bound


class AnomalyInferer(Inferer):
    """Reconstruct, score, post-process.

    Args:
        reconstruction: ``inferer(volumes [B, 1, X, Y, Z], network, case_ids) -> [B, n, X, Y, Z]``.
        scoring: ``score(image, reconstructions) -> anomaly_map``, volumes ``[X, Y, Z]``; bound to the network if it needs it.
        postprocessing: object with ``prepare(map, mask, spacing_mm)``.
        spacing_mm: voxel size of the model's grid.
        noise_key: what the noise is seeded with beside the model's seed. One key for all scans makes a map independent
            of names; the case id of an evaluation gives the evaluation's map.
        return_reconstruction: add the mean reconstruction as second channel of the result.

    >>> from custom.postprocessing import PostProcessing
    >>> from custom.reconstruction.slicewise import SlicewiseReconstruction
    >>> from custom.scoring import l1
    >>> inferer = AnomalyInferer(SlicewiseReconstruction(), l1, PostProcessing(order=["mask"]))
    >>> image, mask = torch.full((1, 8, 8, 4), 0.5), torch.ones(1, 8, 8, 4)
    >>> image[0, 5, 4, 2] = 1.0
    >>> network = nn.Hardtanh(0.0, 0.5)  # knows nothing brighter than 0.5
    >>> anomaly_map = inferer(torch.stack([image, mask], dim=1), network)
    >>> anomaly_map.shape, anomaly_map.nonzero().tolist()
    (torch.Size([1, 1, 8, 8, 4]), [[0, 0, 5, 4, 2]])
    """

    def __init__(
        self,
        reconstruction: Callable[..., Tensor],
        scoring: Any,
        postprocessing: Any,
        spacing_mm: Sequence[float] = (2.0, 2.0, 2.0),
        noise_key: str = "scan",
        return_reconstruction: bool = False,
    ) -> None:
        self.reconstruction = reconstruction
        self.scoring = scoring
        self.postprocessing = postprocessing
        self.spacing_mm = tuple(float(s) for s in spacing_mm)
        self.noise_key = noise_key
        self.return_reconstruction = return_reconstruction

    @torch.inference_mode()
    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Return the anomaly maps ``[B, 1, X, Y, Z]``, or maps and reconstructions ``[B, 2, X, Y, Z]``.

        Args:
            inputs: ``[B, 2, X, Y, Z]``: image in [0, 1] and brain mask, as ``ToModelGridd`` makes them.
            network: trained network in evaluation mode.
            *args, **kwargs: ignored.
        """
        if inputs.ndim != 5 or inputs.shape[1] != 2:
            raise DataError(
                f"inputs must be [B, 2, X, Y, Z] with image and brain mask, got {list(inputs.shape)}; ToModelGridd makes them"
            )
        plain = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        results = []
        for volume in plain.float():
            anomaly_map, reconstruction = self._scored(
                self.reconstruction, volume, network, bound(self.scoring, network)
            )
            results.append(torch.stack([anomaly_map, reconstruction] if self.return_reconstruction else [anomaly_map]))
        result = torch.stack(results).clone()
        return MetaTensor(result).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else result

    @torch.inference_mode()
    def of_slice(self, inputs: Tensor, network: nn.Module, height: int, scoring: Any = None) -> tuple[Tensor, Tensor]:
        """Return anomaly map and mean reconstruction ``[X, Y]`` of a single slice; filters in 3-D work within it.

        Args:
            inputs: ``[2, X, Y]``: image in [0, 1] and brain mask.
            network: trained network in evaluation mode.
            height: index of the slice along the model's grid, for networks and scores that know it.
            scoring: score of slices; None: that of scans.
        """
        at = getattr(self.reconstruction, "at_height", None)
        reconstruction = self.reconstruction if at is None else at(height)
        score = bound(self.scoring if scoring is None else scoring, network)
        score = score.at_height(height) if hasattr(score, "at_height") else score
        anomaly_map, mean = self._scored(reconstruction, inputs.float()[..., None], network, score)
        return anomaly_map[..., 0].clone(), mean[..., 0].clone()

    def _scored(self, reconstruction: Any, volume: Tensor, network: nn.Module, score: Any) -> tuple[Tensor, Tensor]:
        image, mask = volume
        channels = reconstruction(image[None, None], network, [self.noise_key])[0]
        made = Reconstructions.from_channels(channels, getattr(reconstruction, "has_mask_channel", False))
        return self.postprocessing.prepare(score(image, made), mask, self.spacing_mm), made.mean
