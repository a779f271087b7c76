# SPDX-License-Identifier: Apache-2.0
"""Results of a DICOM series as DICOM: Segmentation and Parametric Map by highdicom (extra ``[dicom]``).

Both refer to every source instance and share the series' frame of reference, so that a viewer lays them over it. A
source without the attributes that these objects need costs the DICOM output only: the reason becomes a note.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..core.errors import ConfigError
from ..core.files import atomic_path
from ..volumes.read import read_stored
from .case_result import CaseResult
from .find import ScanSource

_MAKER = "uad-brain-mri"
_SERIES = 9000
_TEXTS = ("PN", "LO", "SH", "LT", "ST", "UT", "UC", "DA", "AS")


def write_dicom(folder: Path, source: ScanSource, result: CaseResult, settings: Mapping[str, Any]) -> list[str]:
    """Write ``*_desc-anomaly_mask.dcm`` and ``*_desc-anomaly_map.dcm``; return notes about what could not be written.

    The hash of the model in ``settings`` becomes the serial number of the device.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        import highdicom
        import pydicom
    except ImportError as error:
        raise ConfigError(
            "DICOM output needs the extra: pip install 'uad-brain-mri[dicom]', or --format nifti."
        ) from error
    notes = []
    datasets = [pydicom.dcmread(file) for file in read_stored(source.path, source.case_id).files]
    volumes: dict[str, tuple[Any, NDArray[Any]]] = {
        "anomaly_mask": (_segmentation, result.mask),
        "anomaly_map": (_parametric_map, result.anomaly_map),
    }
    for number, (name, (make, volume)) in enumerate(volumes.items()):
        pixels = np.ascontiguousarray(
            volume.transpose(2, 1, 0)
        )  # [slice, row, column] in the order of the source files
        if name == "anomaly_mask" and not pixels.any():
            notes.append("no DICOM segmentation: the mask is empty")
            continue
        common = {
            "series_instance_uid": highdicom.UID(),
            "series_number": _SERIES + number,
            "sop_instance_uid": highdicom.UID(),
            "instance_number": 1,
            "manufacturer": _MAKER,
            "manufacturer_model_name": str(settings.get("method", _MAKER)),
            "software_versions": __version__,
            "device_serial_number": str(settings.get("model_sha256", "unknown"))[:16],
        }
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they quote the patient's name
                dataset = make(highdicom, datasets, pixels, common)
                with atomic_path(folder / f"{source.case_id}_desc-{name}.dcm") as temporary:
                    dataset.save_as(temporary)
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            reason = _without_values(str(error), datasets[0])
            notes.append(f"no DICOM {name.replace('_', ' ')}: the source series does not allow it ({reason})")
    return notes


def _without_values(text: str, dataset: Any) -> str:
    """Return the words of an error without what the tags of a series say about people and places."""
    values = {str(element.value) for element in dataset.iterall() if element.VR in _TEXTS}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "***") if len(value) > 1 else text
    return text


def _segmentation(hd: Any, sources: list[Any], pixels: NDArray[Any], common: dict[str, Any]) -> Any:
    from pydicom.sr.codedict import codes

    algorithm = hd.AlgorithmIdentificationSequence(
        name=common["manufacturer_model_name"], version=__version__, family=codes.DCM.ArtificialIntelligence
    )
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="anomaly (research use only)",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels.astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_description="Anomaly mask, research use only",
        omit_empty_frames=False,
        **common,
    )


def _parametric_map(hd: Any, sources: list[Any], pixels: NDArray[Any], common: dict[str, Any]) -> Any:
    from pydicom.sr.codedict import codes

    top = max(float(pixels.max()), 1e-6)
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="score",
        lut_explanation="Anomaly score, larger is more anomalous",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, top),
        slope=1.0,
        intercept=0.0,
    )
    return hd.pm.ParametricMap(
        source_images=sources,
        pixel_array=pixels.astype(np.float32),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=top / 2, window_width=top)],
        series_description="Anomaly map, research use only",
        **common,
    )
