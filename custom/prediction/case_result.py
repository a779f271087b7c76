# SPDX-License-Identifier: Apache-2.0
"""Everything that one scan gave: volumes on the scan's grid for the files, on the model's grid for the pictures."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..core.files import atomic_path, atomic_write_json
from ..volumes.resampling import voxel_ml_of
from .calibration import Calibration, Threshold
from .findings import Finding, find_findings
from .views import View

MAX_ANOMALOUS = 0.15


@dataclass(frozen=True, eq=False, repr=False)
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
        kind: "nifti", "itk", "dicom" or "array" (given in memory).
        brain_ml: volume of the brain mask on the scan's grid, 0 where it is not known.
        record: what the preparation measured and used, by step (JSON values).
        header: NIfTI header of the scan, empty for other formats.
        sha256: of the scan's file as it was read, empty for a DICOM series and an array.
        scanner: what the file says about the scanner, or "".

    >>> scores, affine, threshold = np.full((2, 2, 2), 0.4, np.float32), np.diag([2.0, 2, 2, 1]), Threshold(0.3, "healthy scans")
    >>> mask, calibration = (scores > 0.3).astype(np.uint8), Calibration("t1", "l1", {"healthy": threshold}, [(0.0, 0.0), (1.0, 0.8)])
    >>> findings = tuple(find_findings(mask, scores, affine, brain_centre_mm=np.ones(3), threshold=0.3))
    >>> CaseResult("P1", scores, mask, scores, affine, {}, affine, threshold, calibration, (), findings, "array")
    <CaseResult P1: 1 finding, 0.06 ml above 0.3, first: central; 2x2x2 voxels, 0 warnings>
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
    brain_ml: float = 0.0
    record: Mapping[str, Any] = field(default_factory=dict)
    header: bytes = b""
    sha256: str = ""
    scanner: str = ""

    def __repr__(self) -> str:
        """Return one line."""
        ml = float(self.mask.sum()) * voxel_ml_of(self.affine)
        shape = "x".join(str(n) for n in self.mask.shape)
        first = f", first: {self.findings[0].words}" if self.findings else ""
        return (
            f"<CaseResult {self.case_id}: {_count(len(self.findings), 'finding')}, {ml:.2f} ml above {self.threshold.value:.4g}{first}; "
            f"{shape} voxels, {_count(len(self.warnings), 'warning')}>"
        )

    @classmethod
    def from_data(cls, data: Mapping[Any, Any], calibration: Calibration) -> "CaseResult":
        """Collect the result from the dictionary that the post-processing of ``inference.json`` returns."""
        reference = data["image"]
        image, brain = reference.numpy()
        grid_affine = np.asarray(reference.affine, dtype=np.float64)
        affine = np.asarray(reference.meta["original_affine"], dtype=np.float64)
        anomaly_map, mask = _first(data["anomaly_map"]), _first(data["pred"]).astype(np.uint8)
        centre = np.append(np.argwhere(brain > 0).mean(axis=0), 1) @ grid_affine.T
        record = json.loads(reference.meta.get("record", "{}"))
        placed = record.get("registration", {}).get("template_to_scan")
        threshold = Threshold(float(data["result"]["threshold"]), str(data["result"]["threshold_source"]))
        brain_ml = float(reference.meta["mask_ml"])
        warnings = [*json.loads(data["warnings"]), *_too_much(mask, affine, brain_ml)]
        if doubt := calibration.doubt(threshold.value):
            warnings.append(f"the threshold {threshold.value:.4g} is {doubt}")
        findings = find_findings(
            mask, anomaly_map, affine, centre[:3], threshold.value, None if placed is None else np.array(placed)
        )
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
            threshold,
            calibration,
            tuple(warnings),
            tuple(findings),
            str(reference.meta["kind"]),
            brain_ml,
            record,
            bytes.fromhex(reference.meta.get("header", "")),
            str(reference.meta.get("sha256", "")),
            str(reference.meta.get("stated_scanner", "")),
        )

    @property
    def reconstruction_error(self) -> float:
        """Mean absolute residual inside the brain, intensities from 0 to 1."""
        residual = np.abs(self.grid["image"] - self.grid["reconstruction"])
        return float(residual[np.asarray(self.grid["brain"]) > 0].mean())

    def images(self) -> dict[str, NDArray[Any]]:
        """Return the volumes that are written, by role."""
        return {"anomaly_map": self.anomaly_map, "mask": self.mask, "pseudohealthy": self.pseudohealthy}

    def summary(self) -> dict[str, Any]:
        """Return numbers and texts as JSON values."""
        peak = float(self.grid["map"].max())
        peaks = [round(float(self.calibration.percentile_of(finding.peak)), 3) for finding in self.findings]
        return {
            "Threshold": {"Value": self.threshold.value, "Source": self.threshold.source},
            "AnomalyVolumeMl": round(float(self.mask.sum()) * voxel_ml_of(self.affine), 3),
            "AnomalyScore": peak,
            "AnomalyScoreHealthyPercentile": float(self.calibration.percentile_of(peak)),
            "Findings": [f.as_json() | {"percentile": p} for f, p in zip(self.findings, peaks, strict=True)],
            "ReconstructionError": round(self.reconstruction_error, 5),
            "Scanner": self.scanner or None,
            "Preparation": dict(self.record),
            "Warnings": list(self.warnings),
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write map, mask and pseudo-healthy image (NIfTI), the summary (JSON) and the page; return their paths."""
        import nibabel as nib

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for role, array in self.images().items():
            path = folder / f"{self.case_id}_{role}.nii.gz"
            with atomic_path(path) as temporary:
                nib.Nifti1Image(array, self.affine).to_filename(temporary)
            paths.append(path)
        summary = folder / f"{self.case_id}_summary.json"
        atomic_write_json(summary, self.summary())
        return [*paths, summary, self.save_report(folder)]

    def save_report(self, folder: str | Path, viewer: str = "niivue", view: View = "neurological") -> Path:
        """Write the self-contained HTML page of this scan into ``folder`` and return its path."""
        from .page import write_case_report

        summary = {"case_id": self.case_id, "Settings": {}, **self.summary()}
        return write_case_report(Path(folder), summary, self, viewer, view)

    def plot(self, view: View = "neurological") -> Any:
        """Return a matplotlib figure, which a notebook shows: three planes through the first finding, map and mask over the scan."""
        from io import BytesIO

        from matplotlib.image import imread

        from ..report.figures import NotebookFigure
        from .overlays import tail_position
        from .pictures import BAR_MM, focuses, three_planes

        position = tail_position(self.calibration.percentile_of(self.grid["map"]))
        figure = NotebookFigure(figsize=(12, 4.2), layout="constrained")
        panels = three_planes(self, position, focuses(self, 1)[0], view)
        for axes, panel in zip(figure.subplots(1, 3), panels, strict=True):
            axes.imshow(imread(BytesIO(panel["image"])))
            axes.set_title(f"{panel['name']}, {panel['label']}", fontsize=10)
            axes.set(xticks=[], yticks=[], xlabel=panel["bottom"], ylabel=panel["left"])
        figure.suptitle(f"{self.case_id}: {_count(len(self.findings), 'finding')}, {view} view, bar: {BAR_MM:g} mm")
        return figure

    def _repr_html_(self) -> str:
        """Return the table of findings for a notebook."""
        rows = "".join(
            f"<tr><td>{k}</td><td>{f.volume_ml:.2f} ml</td><td>{escape(f.words)}</td><td>{f.peak:.3f}</td></tr>"
            for k, f in enumerate(self.findings[:10], start=1)
        )
        return (
            f"<p><b>{escape(self.case_id)}</b>: {_count(len(self.findings), 'finding')} above {self.threshold.value:.4g} "
            f"({escape(self.threshold.source)}); {_count(len(self.warnings), 'warning')}. Research use only.</p>"
            f"<table><tr><th>No.</th><th>Volume</th><th>Where</th><th>Highest score</th></tr>{rows}</table>"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _too_much(mask: NDArray[np.uint8], affine: NDArray[np.float64], brain_ml: float) -> list[str]:
    share = float(mask.sum()) * voxel_ml_of(affine) / brain_ml
    if share <= MAX_ANOMALOUS:
        return []
    return [
        f"{share:.0%} of the brain lie above the threshold: more likely the model cannot reconstruct this scan (another "
        "scanner, contrast or preparation than in training) than that all of it is abnormal"
    ]


def _first(volume: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(volume.cpu().numpy())[0]
    return array
