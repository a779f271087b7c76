# SPDX-License-Identifier: Apache-2.0
"""Further tables of a comparison: ablation of the post-processing, t sweep, recall by lesion size."""

import re
from collections.abc import Mapping, Sequence

from ..metrics import mean_std
from .results import Result
from .tables import Cell, Comparison, Table, unit_of

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
            if any(cell.mean is not None for cell in cells[1:]):
                rows.append(((method, score, title), tuple(cells)))
    notes = ("Thresholds are tuned anew for every post-processing.",)
    return Table(
        f"Post-processing ablation, {metric}{unit_of(metric)[0]}",
        ("method", "score", "test set"),
        tuple(chains),
        tuple(rows),
        notes,
    )


def t_sweep_table(sweeps: Mapping[int, Comparison], method: str, metric: str = "dice") -> Table:
    """Return a row per score and starting time step (fraction of the noise schedule that is undone in one go)."""
    any_one = next(iter(sweeps.values()))
    rows = [
        ((score, str(t)), tuple(sweep.cell(column, method, score, metric) for column in any_one.columns))
        for score in any_one.scores[method]
        for t, sweep in sorted(sweeps.items())
    ]
    return Table(
        f"{metric}{unit_of(metric)[0]} of {method} over the test time step",
        ("score", "t"),
        any_one.titles(),
        tuple(rows),
        scale=unit_of(metric)[1],
    )


def size_table(comparison: Comparison, metric_prefix: str = "lesion_recall") -> Table | None:
    """Return lesion-wise recall by lesion volume: mean ± std over folds of the share of lesions found.

    Lesions of all cases of a fold are counted together (``lesion_wise`` of ``metrics.json``); intervals over subjects are
    not given, since large counts of few subjects would dominate them.
    """
    sizes = _sizes(comparison.results)
    if not sizes:
        return None
    rows = []
    for column, title in zip(comparison.columns, comparison.titles(), strict=True):
        for method, score in comparison.rows:
            cells = []
            for key in sizes:
                values = [
                    v
                    for result in comparison.results
                    if (v := _lesion_wise(result, column, method, score, comparison.point, key)) is not None
                ]
                cells.append(Cell(*mean_std(values), folds=len(values)) if values else Cell())
            if any(cell.mean is not None for cell in cells):
                rows.append(((title, method, score), tuple(cells)))
    heads = tuple(_label(key) for key in sizes)
    return Table("Share of lesions found in %, by volume", ("test set", "method", "score"), heads, tuple(rows))


def _sizes(results: Sequence[Result]) -> list[str]:
    keys: dict[str, float] = {}
    for result in results:
        for block in result.metrics["datasets"].values():
            for variant in block["variants"].values():
                for point in variant["operating_points"].values():
                    for key in point.get("lesion_wise", {}):
                        if match := _SIZE.fullmatch(key):
                            keys[key] = float(match[1])
    return sorted(keys, key=keys.__getitem__)


def _lesion_wise(
    result: Result, column: tuple[str, str], method: str, score: str, point: str, key: str
) -> float | None:
    if (result.contrast, result.method) != (column[0], method) or column[1] not in result.test_sets:
        return None
    variant = result.metrics["datasets"][column[1]]["variants"].get(score, {"operating_points": {}})
    value = variant["operating_points"].get(point, {}).get("lesion_wise", {}).get(key)
    return None if value is None else float(value)


def _label(key: str) -> str:
    match = _SIZE.fullmatch(key)
    assert match is not None
    return f"{match[1]}–{match[2]} mm³" if match[2] else f"≥ {match[1]} mm³"
