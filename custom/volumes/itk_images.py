# SPDX-License-Identifier: Apache-2.0
"""Arrays ``[X, Y, Z]`` with RAS affines as ITK images (LPS world), and affine maps between the two worlds.

Classes of ITK are taken from the modules that hold them (:func:`itk_class`): ``itk.Image[itk.F, 3]`` and its kind first load
every class of a module and of all modules below it, which takes a registration 13 seconds instead of 3.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_PIXELS = {"float32": "F3", "float64": "D3", "uint8": "UC3", "int16": "SS3", "uint16": "US3"}


def itk_class(name: str, arguments: str = "") -> Any:
    """Return a class of ITK by its name and its template arguments as ITK's wrapping abbreviates them.

    >>> itk_class("Image", "F3").__name__  # itk.Image[itk.F, 3]
    'itkImageF3'
    """
    return getattr(import_module(f"itk.itk{name}Python"), f"itk{name}{arguments}")


def to_itk(array: NDArray[Any], affine: Affine) -> Any:
    """Return an ITK image of ``array`` ``[X, Y, Z]`` (see :data:`_PIXELS`); its axes must stand at right angles to each other."""
    buffer = itk_class("PyBuffer", f"I{_PIXELS[array.dtype.name]}")
    image = buffer.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([float(x) for x in lps[:3, 3]])
    image.SetDirection(_to_itk_matrix(lps[:3, :3] / spacing))
    return image


def from_itk(image: Any) -> NDArray[Any]:
    """Return the voxels of an ITK image of float32 as ``[X, Y, Z]``."""
    return np.asarray(itk_class("PyBuffer", "IF3").GetArrayFromImage(image)).transpose(2, 1, 0)


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
    lps = LPS_TO_RAS @ matrix @ LPS_TO_RAS
    centre = LPS_TO_RAS[:3, :3] @ centre_mm
    transform = itk_class("AffineTransform", "D3").New()
    transform.SetCenter([float(c) for c in centre])
    transform.SetMatrix(_to_itk_matrix(lps[:3, :3]))
    transform.SetOffset([float(o) for o in lps[:3, 3]])
    return transform


def from_itk_affine(transform: Any) -> Affine:
    """Return the 4x4 map of RAS points of any affine ITK transform, read off four points."""
    corners = [np.array(transform.TransformPoint(point)) for point in np.vstack([np.zeros(3), np.eye(3)]).tolist()]
    lps = np.eye(4)
    lps[:3, :3] = np.array([corner - corners[0] for corner in corners[1:]]).T
    lps[:3, 3] = corners[0]
    return np.asarray(LPS_TO_RAS @ lps @ LPS_TO_RAS, dtype=np.float64)


def _to_itk_matrix(matrix: Affine) -> Any:
    values = import_module("itk.vnl_matrixPython").vnl_matrixD(3, 3)
    for row, column in np.ndindex(3, 3):
        values.put(row, column, float(matrix[row, column]))
    return itk_class("Matrix", "D33")(values)
