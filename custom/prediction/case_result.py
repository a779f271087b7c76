# SPDX-License-Identifier: Apache-2.0
"""Everything that one scan gave: volumes on the scan's grid for the files, on the model's grid for the pictures."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .calibration import Calibration, Threshold
from .findings import Finding, find_findings

MAX_ANOMALOUS = 0.15


@dataclass(frozen=True, eq=False)
class CaseResult:
    """Result of one scan.

    Attributes:
        case_id: name of the scan.
        anomaly_map: float32 ``[X, Y, Z]`` on the scan's grid.
        mask: uint8, same grid.
        pseudohealthy: float32 in the scan's intensities, same grid.
        affine: the scan's grid to world (RAS, mm).
        grid: ``image``, ``brain``, ``reconstruction``, ``map``, ``mask`` on the model's grid (RAS, 2 mm).
        grid_affine: the model's grid to world.
        threshold: what the mask was cut at.
        calibration: of the model.
        warnings: doubts about the scan.
        findings: connected regions of the mask, the largest first.
        kind: "nifti", "itk" or "dicom".
    """

    case_id: str
    anomaly_map: NDArray[np.float32]
    mask: NDArray[np.uint8]
    pseudohealthy: NDArray[np.float32]
    affine: NDArray[np.float64]
    grid: Mapping[str, NDArray[Any]]
    grid_affine: NDArray[np.float64]
    threshold: Threshold
    calibration: Calibration
    warnings: tuple[str, ...]
    findings: tuple[Finding, ...]
    kind: str

    @classmethod
    def from_data(cls, data: Mapping[Any, Any], calibration: Calibration) -> "CaseResult":
        """Collect the result from the dictionary that the post-processing of ``inference.json`` returns."""
        reference = data["image"]
        image, brain = reference.numpy()
        grid_affine = np.asarray(reference.affine, dtype=np.float64)
        affine = np.asarray(reference.meta["original_affine"], dtype=np.float64)
        anomaly_map, mask = _first(data["anomaly_map"]), _first(data["pred"]).astype(np.uint8)
        centre = np.append(np.argwhere(brain > 0).mean(axis=0), 1) @ grid_affine.T
        findings = find_findings(mask, anomaly_map, affine, centre[:3])
        volumes = {"map": "grid_map", "mask": "grid_mask", "reconstruction": "grid_reconstruction"}
        grid = {name: _first(data[key]) for name, key in volumes.items()} | {"image": image, "brain": brain > 0}
        return cls(
            str(data.get("case_id", "scan")),
            anomaly_map,
            mask,
            _first(data["pseudohealthy"]),
            affine,
            grid,
            grid_affine,
            Threshold(float(data["result"]["threshold"]), str(data["result"]["threshold_source"])),
            calibration,
            (*json.loads(data["warnings"]), *_too_much(mask, affine, float(reference.meta["mask_ml"]))),
            tuple(findings),
            str(reference.meta["kind"]),
        )

    def images(self) -> dict[str, NDArray[Any]]:
        """Return the volumes that are written, by role."""
        return {"anomaly_map": self.anomaly_map, "mask": self.mask, "pseudohealthy": self.pseudohealthy}

    def summary(self) -> dict[str, Any]:
        """Return numbers and texts as JSON values."""
        voxel_ml = abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000
        peak = float(self.grid["map"].max())
        return {
            "Threshold": {"Value": self.threshold.value, "Source": self.threshold.source},
            "AnomalyVolumeMl": round(float(self.mask.sum()) * voxel_ml, 3),
            "AnomalyScore": peak,
            "AnomalyScoreHealthyPercentile": float(self.calibration.percentile_of(np.array([peak]))[0]),
            "Findings": [finding.as_json() for finding in self.findings],
            "Warnings": list(self.warnings),
        }

    def save_report(self, folder: str | Path) -> Path:
        """Write the self-contained HTML page of this scan into ``folder`` and return its path."""
        from .page import write_case_report

        summary = {"case_id": self.case_id, "Settings": {}, **self.summary()}
        return write_case_report(Path(folder), summary, self)


def _too_much(mask: NDArray[np.uint8], affine: NDArray[np.float64], brain_ml: float) -> list[str]:
    share = float(mask.sum()) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000 / brain_ml
    if share <= MAX_ANOMALOUS:
        return []
    return [
        f"{share:.0%} of the brain lie above the threshold: more likely the model cannot reconstruct this scan (another "
        "scanner, contrast or preparation than in training) than that all of it is abnormal"
    ]


def _first(volume: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(volume.cpu().numpy())[0]
    return array
