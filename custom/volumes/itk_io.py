# SPDX-License-Identifier: Apache-2.0
"""NRRD, MetaImage and DICOM series by ITK (GDCM); its LPS world becomes RAS."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MAX_SPACING_DEVIATION = 0.01
Read = tuple[NDArray[np.float32], NDArray[np.float64], str, tuple[str, ...], tuple[str, ...]]


def read_with_itk(path: Path, case: str) -> Read:
    """Return array ``[X, Y, Z]`` in file order, RAS affine, kind, notes and source files.

    Raises:
        DataError: unreadable, not one 3-D image, several series, irregular slices, NaN or no signal.
    """
    import itk  # takes seconds to load

    files: tuple[str, ...] = ()
    try:
        if path.is_dir():
            files = _series(itk, path, case)
            _check_positions(itk, files, case)
            image = itk.imread(list(files), itk.F)
        else:
            image = itk.imread(str(path), itk.F)
    except DataError:
        raise
    except Exception as error:  # ITK raises RuntimeError, TypeError and its own kinds
        reason = " ".join(str(error).split())[-160:]
        raise DataError(
            f"{path.name} cannot be read ({reason}); copy it again or convert it to NIfTI", case=case
        ) from error
    array = np.asarray(itk.array_from_image(image), dtype=np.float32)
    if array.ndim != 3 or min(array.shape) < 2:
        raise DataError(f"{path.name} has shape {array.shape[::-1]}; the method scores 3-D scans", case=case)
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise DataError(
            f"{path.name} has {bad} NaN or infinite voxels, which would spoil the map; repair it", case=case
        )
    if array.min() == array.max():
        raise DataError(f"{path.name} has no signal: every voxel is {array.flat[0]:g}; export it again", case=case)
    return array.transpose(2, 1, 0), _affine(image), "dicom" if files else "itk", (), files


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


def _affine(image: Any) -> NDArray[np.float64]:
    import itk

    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = np.array(image.GetOrigin())
    return LPS_TO_RAS @ affine


def _series(itk: Any, folder: Path, case: str) -> tuple[str, ...]:
    names = itk.GDCMSeriesFileNames.New()
    names.SetGlobalWarningDisplay(False)
    names.SetUseSeriesDetails(False)
    names.SetDirectory(str(folder))
    series = list(names.GetSeriesUIDs())
    if len(series) != 1:
        sizes = ", ".join(str(len(names.GetFileNames(uid))) for uid in series)
        found = f"{len(series)} series (of {sizes} files)" if series else "no readable series"
        raise DataError(
            f"the folder {folder.name} holds {found}; put exactly one DICOM series into a folder", case=case
        )
    return tuple(str(name) for name in names.GetFileNames(series[0]))


def _check_positions(itk: Any, files: tuple[str, ...], case: str) -> None:
    """Refuse duplicate, missing or unevenly spaced slices: ITK would squeeze them into an even stack."""
    if len(files) < 2:
        raise DataError("the DICOM series has one slice; the method scores 3-D scans", case=case)
    places, normals = [], []
    for file in files:
        reader = itk.GDCMImageIO.New(FileName=file)
        reader.ReadImageInformation()
        row, column = np.array(reader.GetDirection(0)), np.array(reader.GetDirection(1))
        places.append([reader.GetOrigin(axis) for axis in range(3)])
        normals.append(np.cross(row, column))
    steps = np.diff(np.array(places) @ normals[0])
    middle = float(np.median(np.abs(steps)))
    worst = int(np.argmax(np.abs(np.abs(steps) - middle)))
    if middle <= 0 or abs(abs(steps[worst]) - middle) > MAX_SPACING_DEVIATION * middle:
        raise DataError(
            f"slices {worst + 1} and {worst + 2} of the DICOM series are {abs(steps[worst]):.3g} mm apart, the others "
            f"{middle:.3g} mm: slices are missing, doubled or irregular; export the complete series",
            case=case,
        )
