# SPDX-License-Identifier: Apache-2.0
"""The image's own brightness as anomaly map: the baseline "Thresh" that needs no network.

Plain thresholding beats many published methods on FLAIR (Meissen et al., BrainLes 2021); no table should stand without
it. On T1, where lesions are dark, ``darkness`` is its counterpart.
"""

from torch import Tensor

from .reconstructions import Reconstructions
from .residual import check_pair


def intensity(image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
    """Return ``max(image, 0)`` in the shape of ``image``; the reconstruction is not looked at."""
    image, _ = check_pair(image, reconstruction)
    return image.clamp(min=0)


def darkness(image: Tensor, reconstruction: Tensor | Reconstructions) -> Tensor:
    """Return ``max(1 - image, 0)``; meaningful inside the brain mask, which the post-processing applies."""
    image, _ = check_pair(image, reconstruction)
    return (1 - image).clamp(min=0)
