# SPDX-License-Identifier: Apache-2.0
"""Self-contained HTML pages: one per scan, one for the batch. No network, every text escaped.

The pages hold case ids and numbers, never paths or names of patients. A case's page has a viewer (NiiVue, about 2.3 MB of
script, and the layers); with ``viewer="none"`` it has no script at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..core.errors import ConfigError, DataError
from ..core.files import atomic_write_bytes, atomic_write_text
from ..volumes.resampling import voxel_ml_of
from . import overlays
from .anatomy import REGION_NOTE
from .group_table import People, healthy_only, volumes_by_person
from .pictures import comparison, data_uri, focuses, mosaic, three_planes
from .views import VIEWS, View

if TYPE_CHECKING:
    from .case_result import CaseResult

VIEWERS = ("niivue", "none")
_SAFE = re.compile(r"[A-Za-z0-9_-]+")


def write_case_report(
    folder: Path, summary: Mapping[str, Any], result: CaseResult, viewer: str = "niivue", view: View = "neurological"
) -> Path:
    """Write ``<folder>/<case id>.html`` and the picture that the batch page shows; return the page's path.

    ``summary`` is that of the result with its case id; ``viewer`` is "niivue", or "none" for a page without script.
    """
    case_id = _checked(str(summary["case_id"]))
    if view not in VIEWS:
        raise ConfigError(f"view {view!r} is unknown; choose one of {', '.join(VIEWS)}")
    percentiles = result.calibration.percentile_of(result.grid["map"])
    at_threshold = float(result.calibration.percentile_of(result.threshold.value))
    position = overlays.tail_position(percentiles)
    peaks = [float(result.calibration.percentile_of(finding.peak)) for finding in result.findings]
    places = focuses(result)
    first = three_planes(result, position, places[0], view)
    rows = [first, *(three_planes(result, position, place, view) for place in places[1:])]
    text = template("case.html").render(
        summary=summary,
        rows=[[{**plane, "image": data_uri(plane["image"])} for plane in row] for row in rows],
        comparison=comparison(result, position, places[0], view),
        mosaic=mosaic(result, position, view),
        bar=_bar(at_threshold),
        focus_is_finding=bool(result.mask.any()),
        notes=summary.get("Notes", []),
        percentile=percentile_text(float(percentiles.max())),
        peaks=[f"{p:.2f}" if p <= 99.99 else "above 99.99" for p in peaks],
        healthy_ml=_seen_ml(result) * (1 - at_threshold / 100),  # expected above the threshold in a healthy brain
        view=view,
        left="L" if view == "neurological" else "R",
        right="R" if view == "neurological" else "L",
        named=any(finding.region for finding in result.findings),
        region_note=REGION_NOTE,
        field=_field_of_view(result),
        model=_model_facts(summary.get("Settings", {}), result),
        **_viewer(result, viewer),
    )
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(folder / "figures" / f"{case_id}_desc-anomaly_overview.png", first[0]["image"])
    path = folder / f"{case_id}.html"
    atomic_write_text(path, text)
    return path


def _viewer(result: CaseResult, viewer: str) -> dict[str, Any]:
    if viewer not in VIEWERS:
        raise ConfigError(f"viewer {viewer!r} is unknown; choose one of {', '.join(VIEWERS)}")
    if viewer == "none":
        return {"viewer": False}
    from .viewer.content import content, script

    return {"viewer": True, "script": script(), "content": content(result)}


def _seen_ml(result: CaseResult) -> float:
    """Return the volume of the brain that the model has seen."""
    return float(np.asarray(result.grid["brain"]).sum()) * voxel_ml_of(result.grid_affine)


def _field_of_view(result: CaseResult) -> str:
    """Return in words which part of the brain the model has seen."""
    heights = np.flatnonzero(np.asarray(result.grid["brain"]).any(axis=(0, 1)))
    seen_ml = _seen_ml(result)
    low, high = (float((result.grid_affine @ [0, 0, z, 1])[2]) for z in heights[[0, -1]])
    share = f" ({seen_ml / result.brain_ml:.0%} of the brain mask)" if result.brain_ml > 0 else ""
    return f"{seen_ml:.0f} ml of brain were examined{share}, from z = {low:.0f} to {high:.0f} mm"


def _model_facts(settings: Mapping[str, Any], result: CaseResult) -> dict[str, Any]:
    """Return what is known about the training: a reader should see whether to trust the model at all."""
    model: Mapping[str, Any] = settings.get("model") or {}
    training: Mapping[str, Any] = model.get("training") or {}
    healthy, steps = result.calibration.healthy, result.calibration.iterations
    facts: dict[str, Any] = {"trained on": f"{result.calibration.contrast.upper()} scans"}
    if model:
        facts["trained on"] += f" of {model.get('dataset', 'an unknown set')} (fold {model.get('fold', '?')})"
        facts["training"] = training or "not recorded"
    if steps is not None:
        batch = training.get("batch_size")
        facts["training steps"] = (
            f"{steps:,} of {batch} slices each: {steps * batch:,} slices in all" if batch else steps
        )
    if (seconds := result.calibration.training_seconds) is not None:
        facts["training time"] = f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.1f} minutes"
    if healthy.number:
        source = healthy.source or model.get("dataset", "its data set")
        facts["calibrated on"] = f"{healthy.number} healthy scans of {source}"
    if (error := result.calibration.healthy_error) is not None:
        facts["healthy scans"] = (
            f"reconstructed with a mean error of {error:.4f} inside the brain (intensities from 0 to 1); this scan: "
            f"{result.reconstruction_error:.4f}"
        )
    return facts


def write_batch_report(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    viewer: str = "niivue",
    people: People | None = None,
) -> Path:
    """Write ``<folder>/index.html``: a row per scan with its picture, numbers, warnings or the reason of its failure.

    With ``people``, the rows of a participants table by subject, volumes are shown by age, sex, site and group;
    ``viewer`` "none" leaves out the few lines of script that sort the table.
    """
    rows = []
    for record in records:
        picture = folder / "figures" / f"{_checked(record['case_id'])}_desc-anomaly_overview.png"
        done = record["status"] != "failed"
        image = data_uri(picture.read_bytes()) if done and picture.is_file() else None
        reason = str(record.get("error", "")).removeprefix(f"{record['case_id']}: ")
        registration = record.get("Preparation", {}).get("registration", {})
        shown = {"done": done, "image": image, "error": reason, "overlap": registration.get("mask_overlap")}
        rows.append({**record, **shown})
    done = sum(row["done"] for row in rows)
    flagged = sum(bool(row["done"] and row["Findings"]) for row in rows)
    chosen = healthy_only(records, people or {})
    text = template("batch.html").render(
        rows=rows,
        done=done,
        flagged=flagged,
        settings=settings,
        sortable=viewer != "none",
        strata=volumes_by_person(chosen, people or {}),
        healthy=len(chosen) < len(records),
    )
    path = folder / "index.html"
    atomic_write_text(path, text)
    return path


def template(name: str, package: str = "custom.prediction") -> Any:
    """Return a template of a package; every text that it is given is escaped."""
    options: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    loader = PackageLoader(package, "templates")
    environment = Environment(loader=loader, undefined=StrictUndefined, **options)
    environment.filters["plain"] = _plain
    return environment.get_template(name)


def _bar(percentile: float) -> dict[str, Any]:
    """Return the colour scale with the percentile of the threshold marked."""
    ticks = [{"at": float(100 * overlays.tail_position(t)), "text": f"{t:g}"} for t in overlays.TICKS]
    return {
        "image": data_uri(overlays.colour_bar()),
        "ticks": ticks,
        "threshold_at": float(100 * overlays.tail_position(percentile)),
        "threshold_text": percentile_text(percentile),
    }


def percentile_text(percentile: float) -> str:
    """Return a percentile in words, as far as it is known."""
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


def _checked(case_id: str) -> str:
    if not _SAFE.fullmatch(case_id):
        raise DataError(f"the case id {case_id!r} cannot be a file name; use letters, digits, '_' and '-'")
    return case_id
