# SPDX-License-Identifier: Apache-2.0
"""Compare a finished matrix with published values: what counts as reproduced is written down before the run.

In the matrix file::

    "published": {"source": "...", "rows": {"ddpm l1": {"brats21": [44.25, 1.49], ...}, ...},      Dice %, mean and std
                  "average_precision": {"ddpm l1": {...}}},                              AP %, mean of scans (their AUPRC)
    "tolerance": {"points": 2.0, "relative": 0.15, "stds": 2.0, "near_points": 8.0, "near_relative": 0.4},
    "orderings": [["ddpm ssim_ens", "ddpm l1"]]                     first must exceed second on every test set

A cell is *reproduced* if it differs by at most ``stds`` published standard deviations, or by at most ``points`` and the share
``relative`` of the published value, whichever of the two is smaller; *near* within the smaller of ``near_points`` and
``near_relative``; else *not reproduced*. Nothing further away than *near* is reproduced, whatever its deviation. An ordering
holds if the difference is positive and the paired permutation test over subjects gives p < 0.05.
"""

from collections.abc import Mapping
from typing import Any

from ..core.errors import ConfigError
from .cells import Cell, Table
from .tables import Comparison


def reproduction_table(comparison: Comparison, source: Mapping[str, Any], metric: str = "dice") -> Table:
    """Return published and measured values of ``dice`` or ``average_precision`` side by side with a verdict for each."""
    published, tolerance = source["published"], source["tolerance"]
    known = published["rows"] if metric == "dice" else published.get(metric, {})
    names = {f"{method} {score}": (method, score) for method, score in comparison.rows}
    rows = []
    for row, values in known.items():
        if row not in names:
            raise ConfigError(
                f"published row {row!r} is no row of the matrix; rows are: {', '.join(map(repr, names))}."
            )
        for test_set, (mean, std) in values.items():
            column = next((c for c in comparison.columns if c[1] == test_set), None)
            cell = comparison.cell(column, *names[row], metric) if column else Cell()
            old = Cell(mean / 100, None if std is None else std / 100)
            difference = None if cell.mean is None else cell.mean - mean / 100
            rows.append(((row, test_set), (old, cell, Cell(difference), verdict(difference, mean, std, tolerance))))
    notes = [f"Published: {published.get('source', 'not said')}.", f"Tolerance: {_say(tolerance)}."]
    notes += [f"Doubt: {doubt}" for doubt in source.get("doubts", ())]
    title, columns = (
        f"Published and measured, {comparison.named(metric)}, in %",
        ("published", "measured", "difference", "verdict"),
    )
    return Table(title, ("row", "test set"), columns, tuple(rows), tuple(notes))


def ordering_table(comparison: Comparison, source: Mapping[str, Any]) -> Table:
    """Return whether the published orderings of rows hold on every test set."""
    pairs = [(first, second) for first, second in source.get("orderings", ())]
    tests = comparison.comparisons(pairs)
    rows = []
    for head, (difference, p_value, *_) in tests.rows:
        holds = difference.mean is not None and difference.mean > 0
        word = "holds" if holds and float(p_value) < 0.05 else "not significant" if holds else "fails"
        rows.append((head, (difference, p_value, word)))
    title, columns = "Published orderings (first > second), Dice in %", ("difference", "p", "verdict")
    return Table(title, tests.head, columns, tuple(rows), tests.notes)


def verdict(
    difference: float | None, published_percent: float, std_percent: float | None, tolerance: Mapping[str, float]
) -> str:
    """Judge a difference (share, not %) under a tolerance.

    >>> tolerance = {"points": 2.0, "relative": 0.15, "stds": 2.0, "near_points": 8.0, "near_relative": 0.4}
    >>> verdict(0.03, 45.0, 1.9, tolerance), verdict(-0.03, 45.0, 0.5, tolerance), verdict(-0.048, 4.8, 1.98, tolerance)
    ('reproduced', 'near', 'not reproduced')
    """
    if difference is None:
        return "not measured"
    points = abs(100 * difference)
    near = min(tolerance["near_points"], tolerance["near_relative"] * published_percent)
    close = min(tolerance["points"], tolerance["relative"] * published_percent)
    if points <= min(max(close, tolerance["stds"] * (std_percent or 0.0)), near):
        return "reproduced"
    return "near" if points <= near else "not reproduced"


def _say(tolerance: Mapping[str, float]) -> str:
    return (
        f"reproduced within {tolerance['stds']:g} published standard deviations, or within {tolerance['points']:g} points and "
        f"{100 * tolerance['relative']:g} % of the published value; near within {tolerance['near_points']:g} points and "
        f"{100 * tolerance['near_relative']:g} % of it; never further away than near"
    )
