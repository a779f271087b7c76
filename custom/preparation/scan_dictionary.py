# SPDX-License-Identifier: Apache-2.0
"""Dictionary transforms before and after :mod:`.grid_dictionary`: read a scan and its mask, and note doubts about it.

Texts and settings travel as JSON strings, which MONAI's collation leaves alone.
"""

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ..volumes.read import Scan, as_label, read_label, read_scan
from ..volumes.resampling import spacing_of
from ..volumes.scanner import scanner_of_sidecar
from .quality import quality_warnings
from .scan_quality import OK, recorded_measures

Data = Mapping[Hashable, Any]


class _TrainingScans(Protocol):
    """What is known about the scans that a model was trained on.

    Contrast (for example "t2"), reference (:func:`custom.preparation.quality.build_reference`), and a sentence for each way in
    which the calibrating scans were of another kind.
    """

    @property
    def contrast(self) -> str: ...
    @property
    def reference(self) -> Mapping[str, Any] | None: ...
    def not_calibrated_for(self, scanner: str, brain_extraction: str) -> list[str]: ...


class ReadScand(MapTransform):
    """Replace a path by the scan ``[1, X, Y, Z]`` (MetaTensor), and the path of a mask by the mask.

    Args:
        keys: entries that hold paths, or scans (:class:`custom.volumes.scan.Scan`), as the entry "mask" may.

    >>> scan = Scan(np.zeros((4, 4, 4), np.float32), np.diag([1.0, 1.0, 2.0, 1.0]), "array")
    >>> data = ReadScand("image")({"image": scan})
    >>> data["image"].shape, data["image"].meta["kind"]
    (torch.Size([1, 4, 4, 4]), 'array')
    """

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return ``data`` with the scan and its mask."""
        result = dict(data)
        mask = result.pop("mask", None)
        for key in self.key_iterator(result):
            given = result[key]
            case = str(result.get("case_id") or ("scan" if isinstance(given, Scan) else Path(given).name))
            scan = given if isinstance(given, Scan) else read_scan(given, case)
            notes = scan.note_texts
            if mask:
                label = as_label(mask, scan, case) if isinstance(mask, Scan) else read_label(mask, scan, case)
                result["mask"] = torch.from_numpy(label.array)[None]
                notes = (*notes, *label.notes)
            meta = {
                "filename_or_obj": case if isinstance(given, Scan) else str(Path(given)), "kind": scan.kind, "notes": json.dumps(notes), "stated_contrast": scan.contrast,
                "header": scan.header.hex(), "sha256": scan.sha256,
                "stated_scanner": scan.scanner or ("" if isinstance(given, Scan) else scanner_of_sidecar(Path(given))),
            }  # fmt: skip
            result[key] = MetaTensor(np.array(scan.array[None]), affine=scan.affine, meta=meta)
        return result


class CheckScand(MapTransform):
    """After ``ToModelGridd``: collect doubts about the scan as JSON list in ``data["warnings"]``.

    Args:
        keys: output of ``ToModelGridd``.
        calibration: of the model; its reference is compared with.
        contrast: contrast that the user says the scan has, or None.
        scanner: scanner that the user says it comes from; None takes what the file says.

    >>> class TrainedOnT2:
    ...     contrast, reference = "t2", None
    ...     def not_calibrated_for(self, scanner, brain_extraction):
    ...         return []
    >>> meta = {"original_affine": np.eye(4), "mask_ml": 1300.0}
    >>> grid = MetaTensor(torch.ones(2, 4, 4, 4), meta=meta)
    >>> json.loads(CheckScand("image", TrainedOnT2(), contrast="t1")({"image": grid})["warnings"])[0]
    'a T1 scan, but the model was trained on T2'
    """

    def __init__(
        self,
        keys: KeysCollection,
        calibration: _TrainingScans,
        contrast: str | None = None,
        scanner: str | None = None,
    ) -> None:
        super().__init__(keys)
        self.calibration = calibration
        self.contrast = contrast
        self.scanner = scanner

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return ``data`` with the warnings."""
        result = dict(data)
        for key in self.key_iterator(result):
            grid = result[key]
            image, mask = grid.numpy()
            affine = np.asarray(grid.meta["original_affine"], dtype=np.float64)
            spacing = [float(s) for s in spacing_of(affine)]
            step = float(abs(np.linalg.det(np.asarray(grid.affine)[:3, :3])) ** (1 / 3))  # a registration stretches it
            notes = [n for n in json.loads(grid.meta.get("notes", "[]")) if "training range" not in n]
            if self.contrast and self.contrast.lower() != self.calibration.contrast.lower():
                notes.append(
                    f"a {self.contrast.upper()} scan, but the model was trained on {self.calibration.contrast.upper()}"
                )
            stated = str(grid.meta.get("stated_contrast", ""))
            if stated and stated != self.calibration.contrast.lower():
                notes.append(
                    f"the file calls itself {stated.upper()}, but the model was trained on {self.calibration.contrast.upper()}"
                )
            record = json.loads(grid.meta.get("record", "{}"))
            scanner = self.scanner or str(grid.meta.get("stated_scanner", ""))
            source = str(record.get("brain_extraction", {}).get("source", ""))
            notes += self.calibration.not_calibrated_for(scanner, source)
            notes += [
                f"{measure.words}: {measure.value:.3g}, usual {measure.expected}"
                for measure in recorded_measures(record)
                if measure.verdict != OK
            ]
            mask_ml = float(grid.meta["mask_ml"])
            notes += quality_warnings(image, mask, step, spacing, mask_ml, self.calibration.reference)
            result["warnings"] = json.dumps(notes)
        return result
