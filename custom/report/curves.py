# SPDX-License-Identifier: Apache-2.0
"""Curves of an evaluation: precision and recall, scores of healthy tissue, Dice over the SSIM width, training.

Every function takes plain numbers, draws all of them and returns the figure; :func:`.figures.save_figure` writes it.
Dice, precision and recall are shares in [0, 1].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from ..core.errors import ConfigError
from .figures import DASHES, NEUTRAL, PALETTE, new_figure, style

_LOW = 0.1  # precision below which a linear axis shows a line at the bottom of an empty square
_MARKS = "osD^vPX<>"


@style()
def precision_recall_figure(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    operating_points: Mapping[str, tuple[float, float]],
    chance: float,
    title: str = "",
) -> Figure:
    """Return precision over recall.

    Args:
        curves: label to (recall, precision), ordered by recall either way. Drawn in steps, as average precision sums
            them: a straight line between two points would promise what no threshold gives (Davis & Goadrich 2006).
        operating_points: label to (recall, precision), each with a mark of its own; a curve of the same label lends its colour,
            otherwise the first curve, whose thresholds they are.
        chance: average precision of a map that is constant in the evaluated region. Where no curve leaves the bottom of the
            picture, precision is drawn on a logarithmic axis.
        title: of the figure.
    """
    figure = new_figure(5.2, 4.4 + 0.1 * (len(curves) + len(operating_points)))
    axes = figure.add_subplot(title=title)
    label = f"uninformative map (AP {100 * chance:.2g} %)"
    axes.axhline(chance, color=NEUTRAL, linewidth=1, linestyle=":", label=label)
    colours = {}
    for number, (label, curve) in enumerate(curves.items()):
        recall, precision = (np.asarray(values, dtype=np.float64) for values in curve)
        if recall.shape != precision.shape or recall.ndim != 1 or not len(recall):
            raise ConfigError(f"curve {label!r} has {recall.shape} recalls and {precision.shape} precisions.")
        order = slice(None, None, -1 if recall[0] > recall[-1] else 1)
        colours[label] = PALETTE[number % len(PALETTE)]
        dashes = DASHES[number % len(DASHES)]
        line: dict[str, Any] = {"color": colours[label], "linestyle": dashes, "label": label}
        axes.plot(recall[order], precision[order], drawstyle="steps-pre", **line)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    bottom = 0.0
    heights = [
        np.asarray(precision, dtype=np.float64)[np.asarray(recall) > 0.05] for recall, precision in curves.values()
    ]
    if chance > 0 and max((float(height.max()) for height in heights if height.size), default=1.0) < _LOW:
        lowest = min([chance, *(height for _, height in operating_points.values() if height > 0)])
        bottom = lowest / 3
        axes.set(yscale="log", ylim=(bottom, 1), ylabel="precision (logarithmic)")
    for number, (label, (recall_at, precision_at)) in enumerate(operating_points.items()):
        colour = colours.get(label, next(iter(colours.values()), NEUTRAL))
        mark = _MARKS[number % len(_MARKS)]
        name = f"{label}: operating point" if label in curves else label
        if precision_at < bottom:  # zero has no place on a logarithmic axis, and no layout could be made with it
            name = f"{name} (precision 0)"
        at = (recall_at, max(precision_at, bottom))
        axes.plot(*at, mark, ms=7, mfc=colour, mec="white", mew=1.0, label=name, zorder=3, clip_on=False)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@style()
def healthy_histogram_figure(
    bin_edges: ArrayLike,
    counts: ArrayLike,
    thresholds: Mapping[str, float],
    anomalous_counts: ArrayLike | None = None,
    title: str = "",
) -> Figure:
    """Return the distribution of anomaly scores in healthy scans, with the thresholds, on a logarithmic axis.

    Args:
        bin_edges: ``[N + 1]`` scores.
        counts: ``[N]`` voxels of healthy brains; shown as shares, each distribution of its own sum.
        thresholds: label to score, drawn as vertical lines.
        anomalous_counts: ``[N]`` voxels of annotated anomalies.
        title: of the figure.
    """
    edges = np.asarray(bin_edges, dtype=np.float64)
    figure = new_figure(6.0, 4.0)
    axes = figure.add_subplot(title=title)
    shares = {"healthy brain": _shares(edges, counts)}
    if anomalous_counts is not None:
        shares["annotated anomalies"] = _shares(edges, anomalous_counts)
    floor = min(share[share > 0].min() for share in shares.values()) / 2
    filled, line = shares["healthy brain"], shares.get("annotated anomalies")
    axes.stairs(np.maximum(filled, floor), edges, baseline=floor, fill=True, color=PALETTE[5], label="healthy brain")
    if line is not None:
        axes.stairs(
            np.maximum(line, floor), edges, baseline=floor, color=PALETTE[1], linewidth=1.2, label="annotated anomalies"
        )
    for number, (label, score) in enumerate(sorted(thresholds.items(), key=lambda item: item[1])):
        dashes = DASHES[(number + 1) % len(DASHES)]
        axes.axvline(score, color="black", linewidth=1.3, linestyle=dashes, label=f"{label}: {score:.3g}")
    used = np.flatnonzero(np.sum(list(shares.values()), axis=0))
    right = max([edges[used[-1] + 1], *(1.05 * score for score in thresholds.values())])
    axes.set(xlabel="anomaly score", ylabel="share of voxels per bin", yscale="log")
    axes.set(ylim=(floor, 2 * max(share.max() for share in shares.values())), xlim=(min(edges[used[0]], 0), right))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@style()
def sigma_sweep_figure(
    sigmas: Sequence[float],
    dice_per_dataset: Mapping[str, Sequence[float]],
    ensemble: Mapping[str, float],
    l1: Mapping[str, float] | None = None,
) -> Figure:
    """Return Dice over the width σ of the SSIM window, as Behrendt et al. (ISBI 2024), figure 2.

    The data sets differ tenfold in Dice, so each has a panel with its own axis; the axes do not start at zero.

    Args:
        sigmas: widths in voxels.
        dice_per_dataset: data set to one mean Dice per width; the best is starred.
        ensemble: data set to the mean Dice of SSIM-ens, dashed.
        l1: data set to the mean Dice of the absolute residual, dotted.
    """
    columns = min(len(dice_per_dataset), 4)
    rows = -(-len(dice_per_dataset) // max(columns, 1))
    if not rows or any(len(dice) != len(sigmas) for dice in dice_per_dataset.values()):
        raise ConfigError(f"every data set needs a Dice for each of the {len(sigmas)} widths, and there must be one.")
    figure = new_figure(max(2.5 * columns, 5.0), 2.5 * rows + 0.4)
    for number, (name, values) in enumerate(dice_per_dataset.items()):
        axes = figure.add_subplot(rows, columns, number + 1, title=name)
        dice = np.asarray(values, dtype=np.float64)
        best = int(np.nanargmax(dice))
        axes.plot(sigmas, dice, "o-", ms=4, color=PALETTE[0])
        axes.plot(sigmas[best], dice[best], "*", ms=15, mfc=PALETTE[4], mec="black", mew=0.8, zorder=3)
        levels = [(ensemble, PALETTE[1], DASHES[1]), (l1 or {}, NEUTRAL, DASHES[2])]
        for level, colour, dashes in levels:
            if name in level:
                axes.axhline(level[name], color=colour, linestyle=dashes)
        axes.set(xlabel="σ of SSIM (voxels)", ylabel="mean Dice" if number % columns == 0 else "")
        axes.set_xticks(list(sigmas)[::2])
        axes.margins(y=0.15)
    handles = [
        Line2D([], [], marker="o", ms=4, color=PALETTE[0], label="SSIM with one σ"),
        Line2D([], [], marker="*", ms=12, mfc=PALETTE[4], mec="black", linestyle="", label="best σ"),
        Line2D([], [], color=PALETTE[1], linestyle=DASHES[1], label="SSIM-ens"),
    ]
    if l1:
        handles.append(Line2D([], [], color=NEUTRAL, linestyle=DASHES[2], label="|residual|"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _shares(edges: Any, counts: ArrayLike) -> Any:
    numbers = np.asarray(counts, dtype=np.float64)
    if numbers.shape != (len(edges) - 1,) or not numbers.sum() > 0:
        raise ConfigError(f"a histogram with {len(edges)} edges needs {len(edges) - 1} counts that are not all zero.")
    return numbers / numbers.sum()
