# SPDX-License-Identifier: Apache-2.0
"""One scan at a glance: a row per axial slice, with input, pseudo-healthy reconstruction, anomaly map and detection.

Volumes are ``[X, Y, Z]`` (or ``[1, X, Y, Z]``) in RAS orientation. Slices are shown in neurological convention, as seen
from above: the patient's left is on the left, front is up, and every row has the letters and a scale bar. Nothing is
scaled to the case: the grey scale is 0 to 1 and the colour scale 0 to ``vmax``, so that pictures of several cases and
methods can be compared.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from ..core.errors import ConfigError
from .figures import NEUTRAL, SCORE_COLOURS, new_figure, style

Volume = NDArray[Any]

COLUMNS = ("Input", "Reconstruction", "Anomaly map", "Detection")
DETECTED, TRUTH = "#E69F00", "#00D5FF"
VIEW_NOTE = "Axial slices from above (neurological view):\nleft of the picture is the patient's left, front is up."
_PANEL_IN, _GAP_IN, _SIDE_IN, _BOTTOM_IN = 1.9, 0.06, 0.08, 0.78
_TOP_IN, _TITLE_IN = 0.24, 0.28
_MARGIN_VOXELS = 3
_BARS_MM = (50, 20, 10, 5, 2, 1)


@style()
def case_panel(
    image: ArrayLike,
    reconstruction: ArrayLike,
    anomaly_map: ArrayLike,
    binary: ArrayLike,
    seg: ArrayLike | None,
    mask: ArrayLike,
    slices: Sequence[int] | None,
    vmax: float,
    threshold: float,
    title: str = "",
    spacing_mm: float | None = None,
) -> Figure:
    """Return the picture of one case.

    Args:
        image: the scan, intensities in [0, 1].
        reconstruction: pseudo-healthy counterpart, same scale.
        anomaly_map: scores, >= 0.
        binary: what was detected.
        seg: truth, outlined where present; None if unknown.
        mask: brain; the panels are cropped to it.
        slices: indices along the last axis; None for those of :func:`choose_slices`.
        vmax: score at the top of the colour scale; higher scores look the same. Equal for all cases to be compared.
        threshold: score the map was cut at, marked on the colour scale.
        title: above everything.
        spacing_mm: voxel size within a slice, for the scale bar; None draws none.
    """
    image, reconstruction, anomaly_map, binary, brain = _volumes(image, reconstruction, anomaly_map, binary, mask)
    truth = None if seg is None else _volumes(image, seg)[1] > 0
    if not vmax > 0:
        raise ConfigError(f"the colour scale of anomaly maps runs from 0 to vmax, which cannot be {vmax}.")
    chosen = choose_slices(anomaly_map, truth, brain) if slices is None else list(slices)
    if not chosen or min(chosen) < 0 or max(chosen) >= image.shape[2]:
        raise ConfigError(f"slices {chosen} do not lie within 0 ... {image.shape[2] - 1}.")

    window = _window(brain)
    height_in = _PANEL_IN * (window[3] - window[2]) / (window[1] - window[0])
    width = 2 * _SIDE_IN + 4 * _PANEL_IN + 3 * _GAP_IN
    top_in = _TOP_IN + (_TITLE_IN if title else 0)
    height = top_in + _BOTTOM_IN + len(chosen) * (height_in + _GAP_IN)
    figure = new_figure(width, height, layout=None)
    scores = Normalize(0, vmax)
    for row, index in enumerate(chosen):
        bottom = height - top_in - (row + 1) * (height_in + _GAP_IN)
        for column, name in enumerate(COLUMNS):
            left = _SIDE_IN + column * (_PANEL_IN + _GAP_IN)
            axes = figure.add_axes((left / width, bottom / height, _PANEL_IN / width, height_in / height))
            axes.set_label(f"{name} {index}")
            if name == "Anomaly map":
                _show(axes, anomaly_map[:, :, index], SCORE_COLOURS, scores)
            else:
                _show(
                    axes, (reconstruction if name == "Reconstruction" else image)[:, :, index], "gray", Normalize(0, 1)
                )
            if name == "Detection":
                detected = np.ma.masked_equal(binary[:, :, index] > 0, False)
                _show(axes, detected, ListedColormap([DETECTED]), Normalize(0, 1), alpha=0.65)
                if truth is not None:
                    axes.add_collection(LineCollection(list(outline(truth[:, :, index])), colors=TRUTH, linewidths=1.1))
            axes.set(xlim=window[:2], ylim=window[2:], xticks=[], yticks=[])
            if row == 0:
                axes.set_title(name, pad=4)
            if column == 0:
                _mark_sides(axes, index)
                if spacing_mm is not None:
                    _scale_bar(axes, window, spacing_mm)
    if title:
        figure.suptitle(title, y=1 - 0.06 / height, fontsize=11, va="top")
    _footer(figure, width, height, vmax, threshold, truth is not None)
    return figure


def choose_slices(anomaly_map: Volume, truth: Volume | None, mask: Volume, count: int = 4) -> list[int]:
    """Return up to ``count`` slices, uppermost first: those with most truth, then those with most score in the brain.

    Chosen slices lie a sixteenth of the stack apart, so that they do not show the same thing.
    """
    brain = mask > 0
    score = np.where(brain, anomaly_map, 0).sum((0, 1), dtype=np.float64)
    area = np.zeros_like(score) if truth is None else truth.sum((0, 1), dtype=np.float64)
    apart = max(1, len(score) // 16)
    chosen: list[int] = []
    for index in np.lexsort((-score, -area)):
        shown = bool(brain[:, :, index].any()) or not brain.any()
        if shown and len(chosen) < count and all(abs(int(index) - other) >= apart for other in chosen):
            chosen.append(int(index))
    return sorted(chosen, reverse=True)


def outline(mask: Volume) -> NDArray[np.float64]:
    """Return the pixel edges between inside and outside of a 2-D mask ``[X, Y]`` as segments ``[N, 2, 2]`` of (x, y).

    Pixel (i, j) covers i ± 0.5, j ± 0.5. No smoothing: a lesion of one pixel is a square.
    """
    padded = np.pad(np.asarray(mask) > 0, 1)
    across, along = np.array([0.0, 0.5]), np.array([0.5, 0.0])
    upright = np.argwhere(padded[1:] != padded[:-1]) - (0.5, 1.0)  # middles of the edges between i - 1 and i
    level = np.argwhere(padded[:, 1:] != padded[:, :-1]) - (1.0, 0.5)  # between j - 1 and j
    ends = [np.stack([upright - across, upright + across], axis=1), np.stack([level - along, level + along], axis=1)]
    return np.concatenate(ends)


def _volumes(*arrays: ArrayLike) -> list[Volume]:
    volumes = [np.asarray(array) for array in arrays]
    volumes = [volume[0] if volume.ndim == 4 and len(volume) == 1 else volume for volume in volumes]
    shapes = [volume.shape for volume in volumes]
    if len(shapes[0]) != 3 or len(set(shapes)) != 1:
        raise ConfigError(f"the volumes of a case must have one shape [X, Y, Z], got {shapes}.")
    return volumes


def _window(brain: Volume) -> tuple[float, float, float, float]:
    """Return x and y limits around the brain, or of the whole slice without one."""
    limits: list[float] = []
    for axis in (0, 1):
        inside = np.flatnonzero((brain > 0).any(axis=(1 - axis, 2)))
        first, last = (inside[0], inside[-1]) if len(inside) else (0, brain.shape[axis] - 1)
        limits += [max(first - _MARGIN_VOXELS, 0) - 0.5, min(last + _MARGIN_VOXELS, brain.shape[axis] - 1) + 0.5]
    return limits[0], limits[1], limits[2], limits[3]


def _show(axes: Any, plane: Volume, colours: Any, norm: Normalize, **kwargs: Any) -> None:
    # [X, Y] -> rows are y, and the first row is the lowest: patient's left (small x) left, front (large y) up.
    axes.imshow(plane.T, origin="lower", cmap=colours, norm=norm, interpolation="nearest", aspect="auto", **kwargs)
    axes.spines[:].set_visible(False)
    axes.grid(False)


def _mark_sides(axes: Any, index: int) -> None:
    letters = {"color": "white", "fontsize": 8.5, "transform": axes.transAxes}
    axes.text(0.02, 0.5, "L", ha="left", va="center", **letters)
    axes.text(0.98, 0.5, "R", ha="right", va="center", **letters)
    axes.text(0.5, 0.98, "A", ha="center", va="top", **letters)
    axes.text(0.5, 0.02, "P", ha="center", va="bottom", **letters)
    axes.text(0.02, 0.98, f"slice {index}", ha="left", va="top", **letters)


def _scale_bar(axes: Any, window: tuple[float, float, float, float], spacing_mm: float) -> None:
    """Draw a bar of a round length in the lower left corner, and say how long it is."""
    width_mm = (window[1] - window[0]) * spacing_mm
    length_mm = next((length for length in _BARS_MM if length <= 0.4 * width_mm), 0.4 * width_mm)
    left, bottom = window[0] + 0.03 * (window[1] - window[0]), window[2] + 0.025 * (window[3] - window[2])
    ends = [left, left + length_mm / spacing_mm]
    axes.plot(ends, [bottom] * 2, color="white", linewidth=2, solid_capstyle="butt", gid="scale bar")
    text = f"{length_mm:.3g} mm"
    axes.annotate(text, (left, bottom), (0, 3), textcoords="offset points", color="white", fontsize=7, va="bottom")


def _footer(figure: Figure, width: float, height: float, vmax: float, threshold: float, has_truth: bool) -> None:
    """Draw note, colour scale with the threshold, and legend below the panels."""

    def left(column: int) -> float:
        return _SIDE_IN + column * (_PANEL_IN + _GAP_IN)

    figure.text(left(0) / width, 0.5 / height, VIEW_NOTE, color=NEUTRAL, fontsize=8, va="center", linespacing=1.4)
    box = ((left(2) + 0.08) / width, 0.42 / height, (_PANEL_IN - 0.16) / width, 0.11 / height)
    axes = figure.add_axes(box, label="colour scale")
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=SCORE_COLOURS, aspect="auto", extent=(0, vmax, 0, 1))
    axes.set(yticks=[], xlim=(0, vmax), xlabel="anomaly score")
    axes.xaxis.label.set_fontsize(8)
    axes.tick_params(axis="x", labelsize=8, length=2.5, pad=1.5)
    axes.set_xticks([0, vmax / 2, vmax], labels=["0", f"{vmax / 2:.3g}", f"≥ {vmax:.3g}"])
    axes.grid(False)
    if threshold <= vmax:
        axes.plot([threshold] * 2, [-0.25, 1.25], color="white", linewidth=3, clip_on=False, solid_capstyle="butt")
        axes.plot([threshold] * 2, [-0.25, 1.25], color="black", linewidth=1.4, clip_on=False, gid="threshold")
    text = f"threshold {threshold:.3g}" + ("" if threshold <= vmax else " (beyond the scale)")
    place = float(np.clip(threshold / vmax, 0.28, 0.72))
    axes.text(place, 1.45, text, transform=axes.transAxes, fontsize=8, ha="center", va="bottom")

    entries: list[Any] = [Patch(facecolor=DETECTED, alpha=0.8, label="detected")]
    if has_truth:
        entries.append(Line2D([], [], color=TRUTH, linewidth=2.2, label="truth (outline)"))
    figure.legend(handles=entries, loc="center left", bbox_to_anchor=(left(3) / width, 0.45 / height), labelspacing=0.5)
