# SPDX-License-Identifier: Apache-2.0
"""Further tables: post-processing ablation, t sweep, recall by lesion size, healthy brain marked, noise draws, CPU time."""

import json
import re
from collections.abc import Mapping
from typing import Any

from ..metrics import mean_std
from .cells import Cell, Table, defined
from .jobs import DONE, PRETRAINING, recorded
from .tables import Column, Comparison, unit_of

_OF_A_RUN = {"seed", "first_draw", "key", "revision", "versions"}
_RECONSTRUCTION = {
    "l1 x 1000": ("l1", 1000.0),
    "SSIM in %": ("ssim", 100.0),
    "PSNR in dB": ("psnr", 1.0),
    "entropy difference x 1000": ("entropy_difference", 1000.0),
}
_SIZE = re.compile(r"lesion_recall_(\d+(?:\.\d+)?)_(?:to_(\d+(?:\.\d+)?)|and_more)_mm3")


def ablation_table(comparison: Comparison, metric: str = "dice") -> Table | None:
    """Return every score under every post-processing; None if only one was evaluated.

    Only rows whose evaluation holds the variants have numbers. The first chain is the protocol's.
    """
    chains: dict[str, None] = {}
    for result in comparison.results:
        chains.update(dict.fromkeys(result.protocol.get("postprocessing", {})))
    if len(chains) < 2:
        return None
    first = next(iter(chains))
    rows = []
    for method, score in comparison.rows:
        if "@" in score:
            continue
        for column, title in zip(comparison.columns, comparison.titles(), strict=True):
            cells = [
                comparison.cell(column, method, score if chain == first else f"{score}@{chain}", metric)
                for chain in chains
            ]
            if any(map(defined, cells[1:])):
                rows.append(((method, score, title), tuple(cells)))
    title, notes = (
        f"Post-processing ablation, {metric}{unit_of(metric)[0]}",
        ("Thresholds are tuned anew for every post-processing.",),
    )
    return Table(title, ("method", "score", "test set"), tuple(chains), tuple(rows), notes)


def t_sweep_table(sweeps: Mapping[int, Comparison], method: str) -> Table:
    """Return a row per score and starting time step (fraction of the noise schedule that is undone in one go)."""
    any_one = next(iter(sweeps.values()))
    rows = [
        ((score, str(t)), tuple(sweep.cell(column, method, score) for column in any_one.columns))
        for score in any_one.scores[method]
        for t, sweep in sorted(sweeps.items())
    ]
    return Table(f"dice in % of {method} over the test time step", ("score", "t"), any_one.titles(), tuple(rows))


def size_table(comparison: Comparison) -> Table | None:
    """Return lesion-wise recall by lesion volume: mean ± std over folds of the share of lesions found.

    Lesions of all cases of a fold are counted together (``lesion_wise`` of ``metrics.json``); intervals over subjects are
    not given, since large counts of few subjects would dominate them.
    """
    blocks = [block for result in comparison.results for block in result.metrics["datasets"].values()]
    points = [p for b in blocks for variant in b["variants"].values() for p in variant["operating_points"].values()]
    keys = dict.fromkeys(key for point in points for key in point.get("lesion_wise", {}))
    sizes = sorted(filter(None, map(_SIZE.fullmatch, keys)), key=lambda match: float(match[1]))
    if not sizes:
        return None
    rows = []
    for column, title in zip(comparison.columns, comparison.titles(), strict=True):
        for method, score in comparison.rows:
            found = [point.get("lesion_wise", {}) for point in _points(comparison, column, method, score)]
            cells = [
                Cell.over_folds([float(fold[size[0]]) for fold in found if fold.get(size[0]) is not None])
                for size in sizes
            ]
            if any(map(defined, cells)):
                rows.append(((title, method, score), tuple(cells)))
    heads = tuple(f"{size[1]}–{size[2]} mm³" if size[2] else f"≥ {size[1]} mm³" for size in sizes)
    criteria = {block.get("lesion_criterion") for block in blocks} - {None}
    notes = (f"A lesion counts as found by: {'; '.join(sorted(criteria))}.",) if criteria else ()
    title = f"Share of lesions found in %, by volume, at the threshold {comparison.point!r}"
    return Table(title, ("test set", "method", "score"), heads, tuple(rows), notes)


def healthy_table(comparison: Comparison) -> Table:
    """Return the share of the brain of held-out healthy scans that lies above the threshold of every cell.

    Mean ± std over folds; a cell of which the calibration scans had to serve, because no other healthy scans were there,
    says so.
    """
    rows = []
    for method, score in comparison.rows:
        cells: list[Cell | str] = []
        for column in comparison.columns:
            points = [p for p in _points(comparison, column, method, score) if p.get("healthy_fpr") is not None]
            cell = Cell.over_folds([float(point["healthy_fpr"]) for point in points])
            held_out = all(point.get("healthy_fpr_held_out") for point in points)
            cells.append(cell if held_out or cell.mean is None else f"{100 * cell.mean:.2f} (calibration scans)")
        rows.append(((method, score), tuple(cells)))
    title = f"Share of the brain of held-out healthy scans above the threshold {comparison.point!r}, in %"
    notes = ("No threshold comes from these scans. Above 20 % a threshold is called indiscriminate.",)
    return Table(title, ("method", "score"), comparison.titles(), tuple(rows), notes)


def reconstruction_table(comparison: Comparison) -> Table | None:
    """Return how well healthy scans are reconstructed, a row per method and contrast; None without such scans.

    Held-out scans count, or those that calibrated the thresholds where there are no others.

    The columns are those of Behrendt et al., arXiv 2312.04215, Table 2, and the entropy difference of its study of robustness;
    l1 and SSIM of the whole grid, as there.
    """
    rows = []
    for method in dict.fromkeys(method for method, _ in comparison.rows):
        for contrast in dict.fromkeys(column[0] for column in comparison.columns):
            found = [r for r in comparison.results if (r.method, r.contrast) == (method, contrast)]
            healthy = [block for r in found for block in r.metrics.get("healthy", {}).values()]
            blocks = [block for block in healthy if block["role"] == "held out"] or healthy
            cells = []
            for key, scale in _RECONSTRUCTION.values():
                means = [scale * m for b in blocks if (m := b["reconstruction"].get(key, {}).get("mean")) is not None]
                cells.append(Cell.over_folds(means))
            if any(map(defined, cells)):
                rows.append(((method, contrast), tuple(cells)))
    if not rows:
        return None
    heads, notes = tuple(_RECONSTRUCTION), ("A good reconstruction is no good detection.",)
    return Table("Reconstruction of healthy scans", ("method", "contrast"), heads, tuple(rows), notes, 1)


def draws_table(comparison: Comparison, metric: str = "average_precision") -> Table | None:
    """Return mean ± std over evaluations of one model that differ in nothing but the noise drawn; None if there are none.

    Such rows are made by ``evaluations`` of a matrix, for example ``{"ddpm_draw1": {"first_draw": 1}, ...}``.
    """
    groups: dict[tuple[str, str], dict[str, set[Any]]] = {}
    for result in comparison.results:
        settings = {key: value for key, value in result.protocol.items() if key not in _OF_A_RUN}
        key = (json.dumps(settings, sort_keys=True, default=str), str(result.folder.parent))
        groups.setdefault(key, {}).setdefault(result.method, set()).add(result.protocol.get("first_draw"))
    rows = []
    for members in dict.fromkeys(tuple(group) for group in groups.values() if len(group) > 1):
        for score in comparison.scores[members[0]]:
            cells = []
            for column in comparison.columns:
                means = [comparison.cell(column, member, score, metric).mean for member in members]
                values = [mean for mean in means if mean is not None]
                cells.append(Cell(*mean_std(values)) if values else Cell())
            rows.append(((members[0], score, str(len(members))), tuple(cells)))
    if not rows:
        return None
    unit, scale = unit_of(metric)
    title = f"{comparison.named(metric)}{unit}: mean ± standard deviation over noise draws"
    notes = ("The same model and scans; only the test noise differs.",)
    return Table(title, ("method", "score", "draws"), comparison.titles(), tuple(rows), notes, scale)


def budget_table(comparison: Comparison) -> Table | None:
    """Return the processor time of every stage, as a mean over folds; None if no result was made by a matrix.

    What an interrupted attempt had used is not counted. Rows of the same model share its training.
    """
    rows = []
    for method in comparison.scores:
        stages = [
            (stages, result.folder.name)
            for result in comparison.results
            if result.method == method and (stages := recorded(result.folder.parent / DONE).get("stages"))
        ]
        cells = []
        for name in (PRETRAINING, "training", None):
            used = [found[name or own].get("cpu_seconds") for found, own in stages if (name or own) in found]
            known = [seconds / 60 for seconds in used if seconds is not None]
            cells.append(f"{sum(known) / len(known):.1f}" if known else "–")
        if any(cell != "–" for cell in cells):
            rows.append(((method,), tuple(cells)))
    if not rows:
        return None
    return Table(
        "Processor time in minutes, starting a process and validation included",
        ("method",), ("pre-training", "training", "evaluation"), tuple(rows), ("Mean over folds.",),
    )  # fmt: skip


def _points(comparison: Comparison, column: Column, method: str, score: str) -> list[dict[str, Any]]:
    """Return what each evaluation of a row found at the comparison's threshold; empty where it has no such row."""
    blocks = [r.metrics["datasets"][column[1]]["variants"].get(score, {}) for r in comparison.members(column, method)]
    return [dict(block.get("operating_points", {}).get(comparison.point, {})) for block in blocks]
