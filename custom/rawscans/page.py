# SPDX-License-Identifier: Apache-2.0
"""The quality page of a prepared scan: template edges and mask outline over the scan, histograms, measures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.files import atomic_write_text
from ..prediction import overlays
from ..prediction.page import template
from ..prediction.pictures import data_uri
from ..volumes.grid import halved_affine
from ..volumes.packaged_template import brain_template
from ..volumes.resampling import resample
from .chain import PreparedScan

COLUMNS = 5
BINS = 60
_PACKAGE = "custom.rawscans"
EDGES, OUTLINE = (1.0, 0.62, 0.1), (0.2, 0.95, 0.95)
Picture = NDArray[np.float32]


def write_quality_page(folder: Path, case_id: str, record: Mapping[str, Any], scan: PreparedScan, scale: float) -> Path:
    """Write ``<folder>/<case id>.html`` and return its path."""
    path = folder / f"{case_id}.html"
    text = template("scan.html", _PACKAGE).render(
        record=record,
        case_id=case_id,
        measures=scan.found,
        picture=data_uri(overlays.png(quality_picture(scan, scale))),
        histogram=histogram_svg(scan),
    )
    atomic_write_text(path, text)
    return path


def write_index(folder: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """Write ``<folder>/index.html``: a row per scan, the failed ones first."""
    order = {"failed": 0, "fail": 0, "warn": 1, "ok": 2}
    rows = sorted(records, key=lambda record: (order.get(str(record.get("verdict")), 0), record["case_id"]))
    path = folder / "index.html"
    atomic_write_text(path, template("scans.html", _PACKAGE).render(rows=rows))
    return path


def quality_picture(scan: PreparedScan, scale: float) -> Picture:
    """Return 3 x 5 slices of the moved scan, skull included, with template edges (orange) and mask outline (cyan)."""
    shape, affine = scan.image.shape, scan.affine
    if shape[0] > 120:
        shape, affine = tuple(n // 2 for n in shape), halved_affine(affine)
    brain_average = brain_template()
    space = np.diag([scale] * 3 + [1.0]) @ brain_average.affine
    placed = resample(brain_average.t1, space, affine, shape, antialias=False)
    edges = _edges(placed)
    image = resample(scan.moved.image, scan.moved.affine, affine, shape)
    mask = resample((scan.moved.brain > 0).astype(np.float32), scan.moved.affine, affine, shape) > 0.5
    image = np.clip(image / max(float(np.percentile(image[mask], 99.5)) if mask.any() else 1.0, 1e-6), 0, 1)
    inside = np.argwhere(placed > 0.1)
    cells = []
    for axis in (2, 1, 0):
        low, high = inside[:, axis].min(), inside[:, axis].max()
        for index in np.linspace(low + 0.15 * (high - low), high - 0.12 * (high - low), COLUMNS).round().astype(int):
            grey, brain, edge = (overlays.plane(volume, axis, int(index)) for volume in (image, mask, edges))
            cells.append(_cell(grey, brain, edge, max(shape)))
    return overlays.mosaic(cells, COLUMNS)


def histogram_svg(scan: PreparedScan) -> str:
    """Return the histograms of the brain before (grey) and after (blue) the bias correction as an SVG picture."""
    before, after = (s.image[scan.moved.brain > 0] for s in (scan.native, scan.moved))
    top = float(np.percentile(after, 99.5)) * 1.1
    paths = []
    for values, colour in ((before, "#999999"), (after, "#0072b2")):
        counts = np.histogram(values, BINS, (0, top))[0] / max(len(values), 1)
        points = " ".join(f"{10 + 380 * k / BINS:.1f},{130 - 1100 * c:.1f}" for k, c in enumerate(counts))
        paths.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return f'<svg viewBox="0 0 400 140" width="400" role="img" aria-label="histograms">{"".join(paths)}</svg>'


def _edges(placed: Picture) -> NDArray[np.bool_]:
    strength = ndimage.gaussian_gradient_magnitude(placed, 1.0)
    return np.asarray(strength > np.percentile(strength[placed > 0.05], 80))


def _cell(grey: NDArray[Any], brain: NDArray[Any], edge: NDArray[Any], size: int) -> Picture:
    picture = overlays.outline(overlays.grey(grey, 2), edge, 2, EDGES, opacity=0.6)
    picture = overlays.outline(picture, brain, 2, OUTLINE)
    cell = np.zeros((2 * size, 2 * size, 3), dtype=np.float32)
    top, left = (2 * size - picture.shape[0]) // 2, (2 * size - picture.shape[1]) // 2
    cell[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return cell
