# SPDX-License-Identifier: Apache-2.0
"""Two-dimensional pictures: PNG, JPEG and TIFF as ``[X, Y, 1]``, X to the right and Y downwards as they are seen.

A picture states neither voxel size nor orientation: 1 mm and the radiological view (left of the picture is the patient's
right, top is front) are assumed, and both stand in the notes. Colours become grey by Pillow's ITU-R 601 luma; where all
channels are the same, their value is taken. A rotation stated in EXIF is applied; 16 bits stay 16 bits.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from .limits import check_size
from .scan import Note, Scan
from .stored_file import check_regular, name_of

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_ASSUMED = Note(
    "picture-note", "a picture: 1 mm per pixel and the radiological view are assumed, its file states neither"
)
_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
_GREY_MODES = ("L", "F", "I")


def read_picture(path: Path, case: str) -> Scan:
    """Return a picture.

    Raises:
        DataError: unreadable, damaged, of several pages, or larger than memory.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    check_regular(path, case)
    name = name_of(path)
    raw = path.read_bytes()
    try:
        with Image.open(io.BytesIO(raw)) as header:
            check_size((*header.size, 1), name, case)
            pages = int(getattr(header, "n_frames", 1))
            if pages > 1:
                raise DataError.of("not-3d", f"{name} has {pages} pages, expected one picture", case)
            header.verify()  # compares checksums where the format has some
        with Image.open(io.BytesIO(raw)) as image:
            grey, notes = _grey(ImageOps.exif_transpose(image))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError.of("damaged", f"{name} cannot be read as a picture ({str(error)[:100]})", case) from error
    array = np.ascontiguousarray(grey.T[:, :, None], dtype=np.float32)
    return Scan(array, _AFFINE.copy(), "picture", (_ASSUMED, *notes), sha256=hashlib.sha256(raw).hexdigest())


def _grey(image: Any) -> tuple[NDArray[np.float32], tuple[Note, ...]]:
    """Return rows and columns of intensities."""
    if image.mode.startswith(_GREY_MODES) and "A" not in image.mode:
        return np.asarray(image, dtype=np.float32), ()
    if image.mode == "1":
        return np.asarray(image.convert("L"), dtype=np.float32), ()
    colours = image.convert("RGB")
    channels = np.asarray(colours)
    if np.all(channels[..., :1] == channels):
        return channels[..., 0].astype(np.float32), ()
    return np.asarray(colours.convert("L"), dtype=np.float32), (Note("picture-note", "colours were turned into grey"),)
