# SPDX-License-Identifier: Apache-2.0
"""Noise for diffusion models and denoising autoencoders, each a callable ``noise(like, generator) -> Tensor``.

``like`` is ``[B, 1, H, W]``; the result has its shape and device and is float32. All randomness comes from
``generator``; without one torch's global generator of that device is used. :class:`GridPatches` draws, in the same form,
where the noise goes.
"""

from .coarse import CoarseNoise
from .gaussian import GaussianNoise
from .patches import GridPatches
from .simplex import SimplexNoise, isbi2024

__all__ = ["CoarseNoise", "GaussianNoise", "GridPatches", "SimplexNoise", "isbi2024"]
