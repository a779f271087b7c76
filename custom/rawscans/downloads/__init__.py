# SPDX-License-Identifier: Apache-2.0
"""Public data sets as they are downloaded: which of their files are scans, masks and lesions of one contrast.

Every module has ``find(root, contrast) -> Found``. Files that a module does not know are listed, never guessed.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from ...core.errors import ConfigError, DataError
from . import atlas_v2, brats21, ixi, mslub, wmh
from .found import Found

FINDERS: Mapping[str, Callable[[Path, str], Found]] = {
    "ixi": ixi.find,
    "brats21": brats21.find,
    "mslub": mslub.find,
    "atlas_v2": atlas_v2.find,
    "wmh": wmh.find,
}


def find_download(name: str, root: Path, contrast: str) -> Found:
    """Return the scans of a data set as it was unpacked.

    Raises:
        ConfigError: no such data set.
        DataError: none of its files lie below ``root``.
    """
    if name not in FINDERS:
        raise ConfigError(f"the data set {name!r} is unknown; choose one of {', '.join(FINDERS)}")
    found = FINDERS[name](root, contrast)
    if not found.scans:
        raise DataError(f"no {contrast.upper()} scan of {name} below {root}: unpack it there as it was downloaded")
    return found
