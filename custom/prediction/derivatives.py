# SPDX-License-Identifier: Apache-2.0
"""Files of one scan's result, named as BIDS derivatives, each with a JSON sidecar, written whole or not at all.

::

    OUT/dataset_description.json
    OUT/sub-01/[ses-1/]anat/sub-01_desc-anomaly_map.nii.gz          float32, anomaly score
                            sub-01_desc-anomaly_mask.nii.gz         uint8, 1 = above the threshold
                            sub-01_desc-pseudohealthy_T1w.nii.gz    float32, intensities of the scan
                            sub-01_desc-anomaly_summary.json        numbers, warnings, hashes; written last
    OUT/sub-01.html, OUT/figures/sub-01_desc-anomaly_overview.png   report
    OUT/index.html, OUT/summary.json                                the batch

The voxel grid, codes and units of a NIfTI scan are those of its own header; texts in it are blanked.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..core.digests import write_checked_json
from ..core.files import atomic_path, atomic_write_json
from ..volumes.itk_images import write_with_itk
from ..volumes.records import BIDS_SUFFIXES

_TEXTS = ("descrip", "aux_file", "db_name", "intent_name")


def case_folder(root: Path, case_id: str) -> Path:
    """Return the folder of a case's images."""
    subject = case_id.split("_")[0]
    session = re.search(r"_(ses-[A-Za-z0-9]+)", case_id)
    return root / subject / session.group(1) / "anat" if session else root / subject / "anat"


def image_names(case_id: str, contrast: str) -> dict[str, str]:
    """Return the file names (without ending) of map, mask and pseudo-healthy image."""
    suffix = BIDS_SUFFIXES.get(contrast.lower(), "MRI")
    return {
        "anomaly_map": f"{case_id}_desc-anomaly_map",
        "mask": f"{case_id}_desc-anomaly_mask",
        "pseudohealthy": f"{case_id}_desc-pseudohealthy_{suffix}",
    }


def case_files(root: Path, case_id: str) -> list[Path]:
    """Return the files of a case that are there, without its temporary ones; its summary is not among them."""
    folder = case_folder(root, case_id)
    beside = [root / f"{case_id}.html", root / "figures" / f"{case_id}_desc-anomaly_overview.png"]
    found = [*folder.glob(f"{case_id}_desc-*"), *(path for path in beside if path.is_file())]
    return sorted(path for path in found if not path.name.endswith("_desc-anomaly_summary.json"))


def write_image(
    path: Path, array: NDArray[Any], affine: NDArray[np.float64], raw_header: bytes, sidecar: Mapping[str, Any]
) -> None:
    """Write ``array`` ``[X, Y, Z]`` to ``<path>.nii.gz`` with ``<path>.json``; ``raw_header`` is that of a NIfTI scan, or empty."""
    header = None
    if raw_header:
        version = nib.Nifti1Header if len(raw_header) == 348 else nib.Nifti2Header
        order = "<" if int.from_bytes(raw_header[:4], "little") == len(raw_header) else ">"
        header = version(raw_header, endianness=order, check=False)
        for text in _TEXTS:
            header[text] = b""
        header["cal_min"] = header["cal_max"] = 0
        if header["dim"][0] != 3:
            header.set_data_shape(array.shape)
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(array, affine, header)
    image.set_data_dtype(array.dtype)
    image.header.set_slope_inter(1, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(Path(f"{path}.nii.gz")) as temporary:
        image.to_filename(temporary)
    write_checked_json(Path(f"{path}.json"), sidecar)


def write_copy(path: Path, array: NDArray[Any], affine: NDArray[np.float64], ending: str) -> Path:
    """Write ``array`` as NRRD or MetaImage too (the format of the scan)."""
    target = Path(f"{path}{ending}")
    with atomic_path(target) as temporary:
        write_with_itk(temporary, array, affine)
    return target


def write_description(root: Path, generated_by: list[dict[str, str]]) -> None:
    """Write ``dataset_description.json`` where there is none."""
    path = root / "dataset_description.json"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        content = {"Name": "Anomaly maps", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
        atomic_write_json(path, {**content, "GeneratedBy": generated_by})
