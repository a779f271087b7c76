# SPDX-License-Identifier: Apache-2.0
"""Figure 2 of Behrendt et al. (ISBI 2024) from all folds, and Dice over the test time step."""

from collections.abc import Mapping
from pathlib import Path

from ..report.curves import sigma_sweep_figure
from ..report.figures import new_figure, save_figure, style
from .cells import defined
from .tables import Comparison


def sigmas_of(comparison: Comparison, method: str) -> list[float]:
    """Return the SSIM widths that a method was scored with alone."""
    names: set[str] = set()
    for result in comparison.results:
        if result.method == method:
            names |= {name for block in result.metrics["datasets"].values() for name in block["variants"]}
    return sorted(float(n[5:]) for n in names if n.startswith("ssim_") and n[5:].replace(".", "", 1).isdigit())


def draw_figure_2(comparison: Comparison, method: str, path: Path, metric: str = "dice") -> bool:
    """Draw Dice over sigma, mean over folds, a panel per test set; return False if there is no sweep to draw."""
    sigmas = sigmas_of(comparison, method)
    sweep, ensemble, residual = {}, {}, {}
    for column, title in zip(comparison.columns, comparison.titles(), strict=True):
        cells = [comparison.cell(column, method, f"ssim_{sigma:g}", metric) for sigma in sigmas]
        together = comparison.cell(column, method, "ssim_ens", metric)
        if sigmas and all(map(defined, cells)) and together.mean is not None:
            sweep[title] = [float(cell.mean or 0) for cell in cells]
            ensemble[title] = together.mean
            if (plain := comparison.cell(column, method, "l1", metric)).mean is not None:
                residual[title] = plain.mean
    if not sweep:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(sigma_sweep_figure(sigmas, sweep, ensemble, residual), path)
    return True


@style()
def draw_t_sweep(sweeps: Mapping[int, Comparison], method: str, path: Path, metric: str = "dice") -> None:
    """Draw the mean over folds against the test time step, a panel per test set and a line per score."""
    steps = sorted(sweeps)
    first = sweeps[steps[0]]
    figure = new_figure(max(2.8 * len(first.columns), 5.0), 3.2)
    for number, (column, title) in enumerate(zip(first.columns, first.titles(), strict=True)):
        axes = figure.add_subplot(1, len(first.columns), number + 1, title=title)
        for score in first.scores[method]:
            cells = [(t, sweeps[t].cell(column, method, score, metric)) for t in steps]
            drawn = [(t, cell) for t, cell in cells if cell.mean is not None]
            means = [float(cell.mean or 0) for _, cell in drawn]
            axes.errorbar(
                [t for t, _ in drawn], means, [cell.std or 0 for _, cell in drawn], fmt="o-", ms=4, label=score
            )
        axes.set(xlabel="time step t", ylabel=f"mean {metric} ± std over folds" if not number else "", xticks=steps)
    figure.axes[0].legend(loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path)
