# SPDX-License-Identifier: Apache-2.0
"""Local, lesion-like corruption of healthy slabs, and the variation between scanners, for restoration networks.

A slab is a batch of a slice with its neighbours, ``[B, C, H, W]`` in [0, 1], the slice itself in the middle channel.
Everything is drawn by the generator that is passed in, for all samples of a batch at once, on the slab's device.

The family is that of foreign patch interpolation (Tan et al., arXiv 2011.04197) and DISYRE (Naval Marimont et al.,
arXiv 2311.15453): random smooth shapes, filled with something foreign, at a severity between 0 and 1, which the
network is to undo. Nothing here is shared with the lesions of the demo cohort or with the planted lesions of tests.
"""

from .local import LocalCorruption, changed
from .scanner import ScannerVariation
from .shapes import BlobShapes
from .textures import LesionTextures

__all__ = ["BlobShapes", "LesionTextures", "LocalCorruption", "ScannerVariation", "changed"]
