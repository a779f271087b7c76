# SPDX-License-Identifier: Apache-2.0
"""Self-contained HTML pages: one per scan, one for the batch. No scripts, no network, every text escaped.

The pages hold case ids and numbers, never paths or names of patients.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from ..core.errors import DataError
from ..core.files import atomic_write_bytes, atomic_write_text
from . import overlays

if TYPE_CHECKING:
    from .case_result import CaseResult

MOSAIC_SLICES = 21
_PLANES = ((2, "axial", "LRA"), (1, "coronal", "LRS"), (0, "sagittal", "PAS"))
_SAFE = re.compile(r"[A-Za-z0-9_-]+")


def write_case_report(folder: Path, summary: Mapping[str, Any], result: CaseResult) -> Path:
    """Write ``<folder>/<case id>.html`` and the picture that the batch page shows; return the page's path.

    Args:
        folder: output folder.
        summary: numbers and texts, see :meth:`custom.prediction.case_result.CaseResult.summary`.
        result: volumes.
    """
    case_id = _checked(str(summary["case_id"]))
    percentiles = result.calibration.percentile_of(result.grid["map"])
    position = overlays.tail_position(percentiles)
    focus = _focus(result)
    planes = _three_planes(result, position, focus)
    text = _template("case.html").render(
        summary=summary,
        planes=[{**p, "image": _data_uri(p["image"])} for p in planes],
        comparison=_comparison(result, position, focus),
        mosaic=_mosaic(result, position),
        bar=_bar(result),
        focus_is_finding=bool(result.mask.any()),
        notes=summary.get("Notes", []),
        percentile=_percentile_text(float(percentiles.max())),
        peaks=[f"{p:.2f}" if p <= 99.99 else "above 99.99" for p in _peak_percentiles(result)],
        healthy_ml=_healthy_ml(result),
    )
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(folder / "figures" / f"{case_id}_desc-anomaly_overview.png", planes[0]["image"])
    path = folder / f"{case_id}.html"
    atomic_write_text(path, text)
    return path


def write_batch_report(folder: Path, records: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Path:
    """Write ``<folder>/index.html``: a row per scan with its picture, numbers, warnings or the reason of its failure."""
    rows = []
    for record in records:
        picture = folder / "figures" / f"{_checked(record['case_id'])}_desc-anomaly_overview.png"
        done = record["status"] != "failed"
        image = _data_uri(picture.read_bytes()) if done and picture.is_file() else None
        reason = str(record.get("error", "")).removeprefix(f"{record['case_id']}: ")
        rows.append({**record, "done": done, "image": image, "error": reason})
    done = sum(row["done"] for row in rows)
    flagged = sum(bool(row["done"] and row["Findings"]) for row in rows)
    text = _template("batch.html").render(rows=rows, done=done, flagged=flagged, settings=settings)
    path = folder / "index.html"
    atomic_write_text(path, text)
    return path


def _template(name: str) -> Any:
    loader = PackageLoader("custom.prediction", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["plain"] = _plain
    return environment.get_template(name)


def _focus(result: CaseResult) -> tuple[int, int, int]:
    """Return the voxel of the model's grid with the greatest score, inside the mask if there is one."""
    scores, mask = result.grid["map"], result.grid["mask"] > 0
    values = np.where(mask, scores, -1) if mask.any() else scores
    x, y, z = np.unravel_index(int(values.argmax()), values.shape)
    return int(x), int(y), int(z)


def _three_planes(result: CaseResult, position: NDArray[Any], focus: tuple[int, int, int]) -> list[dict[str, Any]]:
    panels = []
    for axis, name, letters in _PLANES:
        picture = _overlay(result, position, axis, focus[axis], 4)
        column, row = [focus[a] for a in range(3) if a != axis]
        height = result.grid["map"].shape[[a for a in range(3) if a != axis][1]]
        picture = overlays.crosshair(picture, (height - 1 - row) * 4 + 2, column * 4 + 2)
        world = (result.grid_affine @ [*focus, 1])[axis]
        label = f"{'xyz'[axis]} = {world:.0f} mm"
        sides = dict(zip(("left", "right", "top"), letters, strict=True))
        panels.append({"name": name, **sides, "label": label, "image": overlays.png(picture)})
    return panels


def _overlay(result: CaseResult, position: NDArray[Any], axis: int, index: int, enlarge: int) -> overlays.Picture:
    image, heat, mask = (overlays.plane(v, axis, index) for v in (result.grid["image"], position, result.grid["mask"]))
    return overlays.outline(overlays.heat(overlays.grey(image, enlarge), heat, enlarge), mask, enlarge)


def _comparison(result: CaseResult, position: NDArray[Any], focus: tuple[int, int, int]) -> list[dict[str, str]]:
    grid = {name: overlays.plane(volume, 2, focus[2]) for name, volume in result.grid.items()}
    place = overlays.plane(position, 2, focus[2])
    black = np.zeros((*(4 * n for n in place.shape), 3), dtype=np.float32)
    pictures = {
        "scan": overlays.grey(grid["image"], 4),
        "pseudo-healthy": overlays.grey(grid["reconstruction"], 4),
        "anomaly map": overlays.heat(overlays.flat(np.zeros_like(place), grid["brain"], 4) + black, place, 4, 1.0),
        "mask": overlays.flat(grid["mask"], grid["brain"], 4),
    }
    return [{"name": name, "image": _data_uri(overlays.png(picture))} for name, picture in pictures.items()]


def _mosaic(result: CaseResult, position: NDArray[Any]) -> dict[str, str]:
    height = np.flatnonzero(result.grid["brain"].any(axis=(0, 1)))
    slices = np.linspace(height[0] + 1, height[-1] - 1, MOSAIC_SLICES).round().astype(int)
    brain = np.argwhere(result.grid["brain"].any(axis=2))
    (left, back), (right, front) = np.maximum(brain.min(axis=0) - 2, 0), brain.max(axis=0) + 3
    pictures = [_overlay(result, position, 2, int(z), 2) for z in slices]
    rows = result.grid["map"].shape[1]
    cut = [p[2 * max(rows - front, 0) : 2 * (rows - back), 2 * left : 2 * right] for p in pictures]
    low, high = (result.grid_affine[2, :3] @ [0, 0, z] + result.grid_affine[2, 3] for z in slices[[0, -1]])
    return {"image": _data_uri(overlays.png(overlays.mosaic(cut, 7))), "low": f"{low:.0f}", "high": f"{high:.0f}"}


def _bar(result: CaseResult) -> dict[str, Any]:
    value = np.array([result.threshold.value])
    percentile = float(result.calibration.percentile_of(value)[0])
    ticks = [{"at": float(100 * overlays.tail_position(t)), "text": f"{t:g}"} for t in overlays.TICKS]
    return {
        "image": _data_uri(overlays.colour_bar()),
        "ticks": ticks,
        "threshold_at": float(100 * overlays.tail_position(percentile)),
        "threshold_text": _percentile_text(percentile),
    }


def _healthy_ml(result: CaseResult) -> float:
    """Return the volume above the threshold that is to be expected in a healthy brain of this size, in ml."""
    percentile = float(result.calibration.percentile_of(np.array([result.threshold.value]))[0])
    brain_ml = float(result.grid["brain"].sum()) * abs(float(np.linalg.det(result.grid_affine[:3, :3]))) / 1000
    return brain_ml * (1 - percentile / 100)


def _peak_percentiles(result: CaseResult) -> list[float]:
    return [float(p) for p in result.calibration.percentile_of(np.array([f.peak for f in result.findings]))]


def _percentile_text(percentile: float) -> str:
    return "above 99.99" if percentile > 99.99 else f"{percentile:.2f}".rstrip("0").rstrip(".")


def _plain(value: Any) -> str:
    """Return settings as words instead of JSON."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key.replace('_', ' ')} {_plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value)
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    return str(value)


def _data_uri(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def _checked(case_id: str) -> str:
    if not _SAFE.fullmatch(case_id):
        raise DataError(f"the case id {case_id!r} cannot be a file name; use letters, digits, '_' and '-'")
    return case_id
