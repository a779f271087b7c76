# SPDX-License-Identifier: Apache-2.0
"""Table 1 of the papers and its relatives: rows are method and score, columns are test sets.

A cell is mean ± standard deviation (ddof 1) over folds of the fold's mean over cases, as the papers print, with the 95 %
BCa bootstrap interval over subjects: a subject's value is its mean over the folds in which it is defined. Thresholding
and atlas stand in every table; results of different protocols are refused unless forced, and then the table says so.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import ConfigError
from ..core.seeding import derive_seed
from ..metrics import bootstrap_ci, mean_std, paired_permutation_test
from .results import Result, Values, check_comparable

REQUIRED = {"threshold": "threshold_baseline", "atlas": "atlas_baseline"}
_SWEEP = re.compile(r"ssim_\d.*")  # SSIM at one width: Figure 2, not a row
_COUNTS = {"tp", "fp", "fn", "lesions", "false_positive_components", "threshold"}
Column = tuple[str, str]  # (contrast, test set)


@dataclass(frozen=True)
class Cell:
    """One number of a table in its own unit; None where a quantity is not defined."""

    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    folds: int = 0
    subjects: int = 0


@dataclass(frozen=True)
class Table:
    """Title, column heads, rows of (row head, cells) and notes; ``cells`` are texts or :class:`Cell`."""

    title: str
    head: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[Any, ...]], ...]
    notes: tuple[str, ...] = field(default=())
    scale: float = 100.0  # what texts show of a cell: 100 for shares in %


class Comparison:
    """The results of a matrix or of single runs, grouped for tables.

    Args:
        results: all evaluations.
        scores: scores shown of each method, also of methods without results yet; None: all that results hold, without
            post-processing ablations and the sweep over sigma.
        point: threshold: "tuned", "healthy_fpr_0.05", "oracle", ...
        seed: of bootstrap and permutations.
        force: show results of different protocols in one table.
        folds: number of folds that there should be; a cell with fewer says so.
    """

    def __init__(
        self, results: Sequence[Result], scores: Mapping[str, Sequence[str]] | None = None, point: str = "tuned",
        seed: int = 0, force: bool = False, folds: int | None = None,
    ) -> None:  # fmt: skip
        if not results:
            raise ConfigError("there is no finished evaluation to make a table of.")
        self.results, self.point, self.seed = list(results), point, seed
        self.columns: list[Column] = list(dict.fromkeys((r.contrast, name) for r in results for name in r.test_sets))
        shown = scores if scores is not None else {r.method: self._all_scores(r) for r in results}
        self.scores = {method: list(names) for method, names in shown.items()}
        self.folds = folds or max(len({r.fold for r in results if r.method == r0.method}) for r0 in results)
        self.warnings: list[str] = []
        self._check(force)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(method, score) in their order."""
        return [(method, score) for method, scores in self.scores.items() for score in scores]

    def values(self, column: Column, method: str, variant: str, metric: str = "dice") -> dict[int, Values]:
        """Return ``{fold: {case: value}}`` of a row."""
        found: dict[int, Values] = {}
        for result in self.results:
            if (result.contrast, result.method) == (column[0], method) and column[1] in result.test_sets:
                values = result.per_case(column[1], variant, self.point, metric)
                if values is not None:
                    found[result.fold] = values
        return found

    def subjects(self, column: Column, method: str, variant: str, metric: str = "dice") -> Values:
        """Return ``{case: mean over the folds where it is defined}``; None where it is in none."""
        folds = self.values(column, method, variant, metric)
        cases = dict.fromkeys(case for values in folds.values() for case in values)
        defined = {case: [v for fold in folds.values() if (v := fold.get(case)) is not None] for case in cases}
        return {case: sum(values) / len(values) if values else None for case, values in defined.items()}

    def cell(self, column: Column, method: str, variant: str, metric: str = "dice") -> Cell:
        """Return mean ± std over folds and the interval over subjects."""
        folds = self.values(column, method, variant, metric).values()
        means = [sum(v) / len(v) for fold in folds if (v := [x for x in fold.values() if x is not None])]
        subjects = [x for x in self.subjects(column, method, variant, metric).values() if x is not None]
        if not means:
            return Cell()
        mean, std = mean_std(means)
        low = high = None
        if len(subjects) > 1:
            seed = derive_seed(self.seed, "table", *column, method, variant, metric) % 2**32
            interval = bootstrap_ci(subjects, seed=seed)
            low, high = interval.low, interval.high
        return Cell(mean, std, low, high, len(means), len(subjects))

    def main(self, metric: str = "dice") -> Table:
        """Return Table 1 for a column of ``per_case.csv``."""
        rows = tuple(
            ((method, score), tuple(self.cell(column, method, score, metric) for column in self.columns))
            for method, score in self.rows
        )
        return Table(
            f"{metric} at the threshold {self.point!r}", ("method", "score"), self.titles(), rows, self._notes()
        )

    def titles(self) -> tuple[str, ...]:
        """Return the heads of the columns."""
        return tuple(f"{name} ({contrast.upper()})" for contrast, name in self.columns)

    def comparisons(self, pairs: Sequence[tuple[str, str]] = (), metric: str = "dice") -> Table:
        """Return paired permutation tests between rows (``"METHOD SCORE"``), p-values also corrected after Holm.

        Without pairs, SSIM-ens is compared with l1 for every method that has both. Holm's correction is over the tests of
        the whole table.
        """
        default = [(f"{m} ssim_ens", f"{m} l1") for m, scores in self.scores.items() if {"ssim_ens", "l1"} <= {*scores}]
        names = {f"{method} {score}": (method, score) for method, score in self.rows}
        found, p_values = [], []
        for first, second in pairs or default:
            for name in (first, second):
                if name not in names:
                    raise ConfigError(f"{name!r} is no row of the table; rows are: {', '.join(map(repr, names))}.")
            for column, title in zip(self.columns, self.titles(), strict=True):
                a, b = (self.subjects(column, *names[name], metric) for name in (first, second))
                both = [case for case in a if case in b]
                if any(a[case] is not None and b[case] is not None for case in both):
                    seed = derive_seed(self.seed, "permutation", first, second, *column) % 2**32
                    test = paired_permutation_test([a[c] for c in both], [b[c] for c in both], seed=seed)
                    found.append(((first, second, title), test))
                    p_values.append(test.p_value)
        rows = tuple(
            (
                head,
                (
                    Cell(test.difference),
                    f"{test.p_value:.4f}",
                    f"{adjusted:.4f}",
                    str(test.n),
                    "exact" if test.exact else "10 000 draws",
                ),
            )
            for (head, test), adjusted in zip(found, holm(p_values), strict=True)
        )
        return Table(
            f"Paired permutation tests of {metric}{unit_of(metric)[0]} over subjects", ("first", "second", "test set"),
            ("difference", "p", "p (Holm)", "subjects", "permutations"), rows,
            ("Two-sided, on each subject's mean over folds.",),
            unit_of(metric)[1],
        )  # fmt: skip

    def _all_scores(self, result: Result) -> list[str]:
        variants = [v for block in result.metrics["datasets"].values() for v in block["variants"]]
        return list(dict.fromkeys(v for v in variants if "@" not in v and not _SWEEP.fullmatch(v)))

    def _notes(self) -> tuple[str, ...]:
        counts = ", ".join(
            f"{title} {max((self.cell(c, m, s).subjects for m, s in self.rows), default=0)}"
            for c, title in zip(self.columns, self.titles(), strict=True)
        )
        notes = [
            "Mean ± standard deviation over folds [95 % bootstrap interval over subjects].",
            f"Folds: {self.folds}. Subjects: {counts}.",
        ]
        revisions = {str(r.protocol.get("revision")) for r in self.results}
        if len(revisions) > 1:
            notes.append(f"Made by several revisions of the code: {', '.join(sorted(revisions))}.")
        return (*notes, *self.warnings)

    def _check(self, force: bool) -> None:
        seen: dict[tuple[str, str, int], Result] = {}
        for result in self.results:
            other = seen.setdefault((result.method, result.contrast, result.fold), result)
            if other is not result:
                raise ConfigError(
                    f"{result.folder} and {other.folder} are both {result.method}, {result.contrast}, fold {result.fold}; "
                    "give one of them another name (NAME=FOLDER) or leave it out."
                )
        for column, title in zip(self.columns, self.titles(), strict=True):
            members = [r for r in self.results if r.contrast == column[0] and column[1] in r.test_sets]
            absent = [bundle for kind, bundle in REQUIRED.items() if kind not in {r.kind for r in members}]
            if absent:
                raise ConfigError(
                    f"no table is printed without thresholding and atlas, and {title} lacks {' and '.join(absent)}; "
                    "evaluate it on the same scans (seconds, no network) and add its folder."
                )
            try:
                check_comparable(members, column[1], lambda _: "")
            except ConfigError as error:
                if not force:
                    raise
                self.warnings.append(f"FORCED, not comparable: {error}")


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def unit_of(metric: str) -> tuple[str, float]:
    """Return how a column of ``per_case.csv`` is shown: its unit, and the factor of the printed number.

    >>> unit_of("dice"), unit_of("fp_ml"), unit_of("lesions")
    ((' in %', 100.0), (' in ml', 1.0), ('', 1.0))
    """
    if metric.endswith("_ml"):
        return " in ml", 1.0
    return ("", 1.0) if metric in _COUNTS else (" in %", 100.0)


def defined(cell: Cell) -> bool:
    """Say whether a cell holds a number."""
    return cell.mean is not None and math.isfinite(cell.mean)
