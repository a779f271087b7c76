# SPDX-License-Identifier: Apache-2.0
"""Sets of 2-D pictures with boxes: NOVA as users download it, or any folder with an optional table of boxes."""

from .records import Picture, PictureSet
from .tables import read_pictures

__all__ = ["Picture", "PictureSet", "read_pictures"]
