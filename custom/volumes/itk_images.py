# SPDX-License-Identifier: Apache-2.0
"""Arrays ``[X, Y, Z]`` with RAS affines as ITK images (LPS world), and affine maps between the two worlds."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_itk(array: NDArray[Any], affine: Affine) -> Any:
    """Return an ITK image of ``array`` ``[X, Y, Z]``; its axes must stand at right angles to each other."""
    import itk  # takes seconds to load

    image = itk.image_from_array(np.ascontiguousarray(array.transpose(2, 1, 0)))
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([float(x) for x in lps[:3, 3]])
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing)))
    return image


def from_itk(image: Any) -> NDArray[Any]:
    """Return the voxels of an ITK image as ``[X, Y, Z]``."""
    import itk

    return np.asarray(itk.array_from_image(image)).transpose(2, 1, 0)


def affine_of(image: Any) -> Affine:
    """Return voxels to world (RAS, mm) of an ITK image."""
    import itk

    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = np.array(image.GetOrigin())
    return LPS_TO_RAS @ affine


def write_with_itk(path: Path, array: NDArray[Any], affine: Affine) -> None:
    """Write ``array`` ``[X, Y, Z]`` with its RAS affine in the format of the file's ending."""
    import itk

    itk.imwrite(to_itk(array, affine), str(path), compression=True)


def to_itk_affine(matrix: Affine, centre_mm: Affine) -> Any:
    """Return ITK's affine transform of a 4x4 map of RAS points, turning about the RAS point ``centre_mm``."""
    import itk

    lps = LPS_TO_RAS @ matrix @ LPS_TO_RAS
    centre = LPS_TO_RAS[:3, :3] @ centre_mm
    transform = itk.AffineTransform[itk.D, 3].New()
    transform.SetCenter([float(c) for c in centre])
    transform.SetMatrix(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3])))
    transform.SetOffset([float(o) for o in lps[:3, 3]])
    return transform


def from_itk_affine(transform: Any) -> Affine:
    """Return the 4x4 map of RAS points of any affine ITK transform, read off four points."""
    corners = [np.array(transform.TransformPoint(point)) for point in np.vstack([np.zeros(3), np.eye(3)]).tolist()]
    lps = np.eye(4)
    lps[:3, :3] = np.array([corner - corners[0] for corner in corners[1:]]).T
    lps[:3, 3] = corners[0]
    return np.asarray(LPS_TO_RAS @ lps @ LPS_TO_RAS, dtype=np.float64)
