# SPDX-License-Identifier: Apache-2.0
"""What the viewer in a report shows: four layers on the model's grid, a table of thresholds, the findings.

Everything stands in the page: no network, no further file. Layers are drawn on a grid along its own axes; the page turns
places back into the scan's world with ``to_scan``.
"""

from __future__ import annotations

import base64
import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ...volumes.resampling import voxel_ml_of

if TYPE_CHECKING:
    from ..case_result import CaseResult

SCRIPT = Path(__file__).parent / "niivue-0.69.0.umd.js"
THRESHOLDS = 101
LEVELS = 255


@lru_cache(maxsize=1)
def script() -> str:
    """Return NiiVue as text that may stand inside a script element."""
    return SCRIPT.read_text(encoding="utf-8").replace("</script", "<\\/script")


def content(result: CaseResult) -> str:
    """Return what the viewer needs as JSON text that may stand inside a script element."""
    grid = result.grid
    top = max(float(grid["map"].max()), result.threshold.value * 1.5, 1e-6)
    values = {
        "layers": [
            _layer("scan", grid["image"], 1.0, "gray", 1.0, 0, 1),
            _layer("pseudo-healthy", grid["reconstruction"], 1.0, "gray", 0.0, 0, 1),
            _layer("anomaly map", grid["map"], top, "warm", 0.7, result.threshold.value, top),
            _layer("mask", np.asarray(grid["mask"]) > 0, 1.0, "blue", 0.0, 0.5, 1),
        ],
        "to_scan": np.round(result.grid_affine, 6).tolist(),  # from voxels of the model's grid to the scan's world
        "threshold": result.threshold.value,
        "table": threshold_table(result, top),
        "findings": [
            {"voxel": _voxel(result, finding.centre_mm), "ml": finding.volume_ml, "words": finding.words}
            for finding in result.findings[:20]
        ],
        "case_id": result.case_id,
    }
    return json.dumps(values, allow_nan=False).replace("<", "\\u003c")


def threshold_table(result: CaseResult, top: float) -> list[dict[str, float]]:
    """Return for rising thresholds the ml above them in this scan and the ml to be expected in a healthy brain."""
    voxel_ml = voxel_ml_of(result.grid_affine)
    brain = np.asarray(result.grid["brain"]) > 0
    scores = np.sort(result.grid["map"][brain])
    thresholds = np.unique(np.append(np.linspace(0, top, THRESHOLDS), result.threshold.value))
    above = len(scores) - np.searchsorted(scores, thresholds, side="right")
    percentiles = result.calibration.percentile_of(thresholds)
    return [
        {
            "score": round(float(t), 6),
            "ml": round(float(n) * voxel_ml, 2),
            "healthy_ml": round(float(brain.sum()) * voxel_ml * (1 - float(p) / 100), 2),
        }
        for t, n, p in zip(thresholds, above, percentiles, strict=True)
    ]


def _layer(
    name: str, volume: NDArray[Any], top: float, colours: str, opacity: float, low: float, high: float
) -> dict[str, Any]:
    stored = np.clip(np.rint(np.asarray(volume, dtype=np.float32) / top * LEVELS), 0, LEVELS).astype(np.uint8)
    image = nib.Nifti1Image(stored, _viewing_affine(volume.shape))
    image.header.set_slope_inter(top / LEVELS, 0)
    data = base64.b64encode(gzip.compress(image.to_bytes(), 6, mtime=0)).decode()
    return {"name": name, "data": data, "colours": colours, "opacity": opacity, "low": float(low), "high": float(high)}


def _viewing_affine(shape: tuple[int, ...]) -> NDArray[np.float64]:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -(np.array(shape, dtype=np.float64) - 1)
    return affine


def _voxel(result: CaseResult, centre_mm: tuple[float, float, float]) -> list[float]:
    place = np.linalg.inv(result.grid_affine) @ [*centre_mm, 1]
    return [round(float(v), 1) for v in place[:3]]
