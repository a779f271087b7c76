# SPDX-License-Identifier: Apache-2.0
"""Enhanced (multi-frame) DICOM: one file, many frames, each with a place of its own in nested sequences.

ITK gives the pixels of all frames but not these sequences, and would stack the frames of two echoes into one volume of
double height; pydicom (extra ``[dicom]``) reads them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import DataError
from .dicom_stack import Slice, as_scan, in_order
from .limits import check_size
from .scan import Note, Scan
from .scanner import DICOM_TAGS
from .stored_file import name_of

_SCANNER_TAGS = {name.replace("Manufacturers", "Manufacturer"): tag for name, tag in DICOM_TAGS.items()}


def read_enhanced(file: Path, case: str, notes: list[Note]) -> Scan:
    """Return the one volume of a multi-frame file.

    Raises:
        DataError: several volumes, frames without place or size, a damaged file, or pydicom is not installed.
    """
    name = name_of(file)
    try:
        import pydicom
    except ImportError as error:
        what = f"{name} is a multi-frame DICOM object, which needs pip install 'uad-brain-mri[dicom]'"
        raise DataError.of("dicom-enhanced", what, case) from error
    import itk

    try:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        shared = header.SharedFunctionalGroupsSequence[0]
        frames = list(header.PerFrameFunctionalGroupsSequence)
        check_size((int(header.Columns), int(header.Rows), len(frames)), name, case)
        pixels = np.asarray(itk.array_from_image(itk.imread(str(file), itk.F)), dtype=np.float32)
        slices = [
            Slice(file, pixels[number].T, *_place(frame, shared), _tags(header, frame, shared))
            for number, frame in enumerate(frames)
        ]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        what = f"{name} is a multi-frame DICOM object that does not state size and place of its frames ({error})"
        raise DataError.of("dicom-geometry", what, case) from error
    except Exception as error:  # ITK raises RuntimeError, pydicom its own kinds
        raise DataError.of("damaged", f"{name} cannot be read as DICOM: it is cut short or damaged", case) from error
    if pixels.shape[0] != len(frames):
        raise DataError.of("damaged", f"{name} has {pixels.shape[0]} frames, its header says {len(frames)}", case)
    if len({s.tags["slope"] for s in slices}) > 1:
        raise DataError.of("bad-scaling", f"the frames of {name} are scaled differently (RescaleSlope)", case)
    ordered, step = in_order(slices, name, case)
    return as_scan(ordered, step, notes, (str(file),), case)


def _place(frame: Any, shared: Any) -> tuple[Any, Any]:
    position = _group(frame, shared, "PlanePositionSequence").ImagePositionPatient
    orientation = _group(frame, shared, "PlaneOrientationSequence").ImageOrientationPatient
    return np.array(position, dtype=np.float64), np.array(orientation, dtype=np.float64)


def _tags(header: Any, frame: Any, shared: Any) -> dict[str, str]:
    """Return what the check of a series looks at, under the tags that single slices have it."""
    spacing = _group(frame, shared, "PixelMeasuresSequence").PixelSpacing
    content = _optional(frame, shared, "FrameContentSequence")
    return {
        "0028|0030": "\\".join(str(float(v)) for v in spacing),
        "0028|0004": str(header.get("PhotometricInterpretation", "")),
        "0008|103e": str(header.get("SeriesDescription", "")),
        **{tag: str(header[name].value) for name, tag in _SCANNER_TAGS.items() if name in header},
        "0018|0081": str(getattr(_optional(frame, shared, "MREchoSequence"), "EffectiveEchoTime", "")),
        "0020|0100": str(getattr(content, "TemporalPositionIndex", "")),
        "0018|9087": str(getattr(_optional(frame, shared, "MRDiffusionSequence"), "DiffusionBValue", "")),
        "slope": str(getattr(_optional(frame, shared, "PixelValueTransformationSequence"), "RescaleSlope", "")),
    }


def _group(frame: Any, shared: Any, keyword: str) -> Any:
    return (frame if keyword in frame else shared)[keyword][0]


def _optional(frame: Any, shared: Any, keyword: str) -> Any:
    return _group(frame, shared, keyword) if keyword in frame or keyword in shared else None
