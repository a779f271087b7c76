# SPDX-License-Identifier: Apache-2.0
"""Between ITK's images (LPS, ``[Z, Y, X]``) and ours (RAS, ``[X, Y, Z]``)."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine_of(image: Any) -> NDArray[np.float64]:
    """Return voxels to world (RAS, mm) of an ITK image."""
    import itk  # takes seconds to load

    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = np.array(image.GetOrigin())
    return LPS_TO_RAS @ affine


def write_with_itk(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write ``array`` ``[X, Y, Z]`` with its RAS affine in the format of the file's ending."""
    import itk

    image = itk.image_from_array(np.ascontiguousarray(array.transpose(2, 1, 0)))
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([float(x) for x in lps[:3, 3]])
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing)))
    itk.imwrite(image, str(path), compression=True)
