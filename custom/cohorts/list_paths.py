# SPDX-License-Identifier: Apache-2.0
"""Paths in split lists: relative to the data root, and of one contrast."""

from pathlib import Path, PurePosixPath

from ..core.errors import DataError
from ..volumes.records import NIFTI_ENDINGS, without_nifti_ending

SHOWN = 80  # characters of a cell in a message


def relative_path(text: str, root: Path) -> PurePosixPath:
    r"""Return a path of a list relative to the data root; a leading "/" and "\" as separator are accepted.

    An absolute path counts as such only if it lies in the data root. ``..`` and drive letters raise a ``DataError``.
    """
    path = PurePosixPath(text.replace("\\", "/"))
    absolute = PurePosixPath(root.absolute().as_posix())
    if path.is_relative_to(absolute) and path != absolute:
        path = path.relative_to(absolute)
    parts = [part for part in path.parts if part != path.root]
    if not parts or ".." in parts or parts[0].endswith(":"):
        raise DataError.of("row-path", f"the path {text[:SHOWN]!r} leaves the data root {root}")
    return PurePosixPath(*parts)


def in_contrast(path: PurePosixPath, contrast: str) -> PurePosixPath:
    """Exchange the last contrast folder and the contrast suffix of the file name of a path relative to the root.

    >>> in_contrast(PurePosixPath("Train/ixi/t1/IXI105_t1.nii.gz"), "t2")
    PurePosixPath('Train/ixi/t2/IXI105_t2.nii.gz')
    """
    stem = without_nifti_ending(path.name)
    ending = path.name[len(stem) :]
    folders = [i for i, part in enumerate(path.parts[:-1]) if stem.endswith(f"_{part}")]
    if not folders or ending not in NIFTI_ENDINGS:
        what = f"cannot tell the contrast of {str(path)[:SHOWN]!r}, which does not end like /t1/NAME_t1.nii.gz"
        raise DataError.of("row-contrast", what)
    parts = list(path.parts)
    parts[-1] = f"{stem.removesuffix(parts[folders[-1]])}{contrast}{ending}"
    parts[folders[-1]] = contrast
    return PurePosixPath(*parts)
