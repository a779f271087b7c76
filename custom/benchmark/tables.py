# SPDX-License-Identifier: Apache-2.0
"""Table 1 of the papers and its relatives: rows are method and score, columns are test sets.

A cell is mean ± standard deviation (ddof 1) over folds of the fold's mean over cases, as the papers print. From ten subjects
on it has the 95 % BCa bootstrap interval over subjects, below that their range: a subject's value is its mean over the folds
in which it is defined. The same subjects and values have the same interval in every table. The last row is the uninformative
map (1 in the evaluated region, 0 outside), and average precision is given as a multiple of its, too. A table without
thresholding and atlas says what is missing; results of different protocols are refused unless forced, and the table says so.

``average_precision`` is the mean of the scans' own, ``pooled_average_precision`` that of one ranking of all their voxels.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..core.errors import ConfigError
from ..metrics import MIN_SUBJECTS, UNINFORMATIVE, bootstrap_ci, holm, paired_permutation_test, seed_of
from .cells import Cell, Table, defined
from .results import Result, Values, check_comparable

REQUIRED = {"threshold": "threshold_baseline", "atlas": "atlas_baseline"}
SWEEP = re.compile(r"ssim_\d.*")  # SSIM at one width: Figure 2, not a row
_POOLED = "pooled_"
_NAMES = {
    "dice": "Dice, mean of scans", "average_precision": "AP, mean of scans",
    "pooled_average_precision": "AP, pooled over the voxels of all scans",
    "fp_ml": "Volume marked by mistake, mean of scans",
}  # fmt: skip
_WITHOUT_THRESHOLD = {"average_precision", "auroc", "average_precision_brain", "auroc_brain", "scan_score"}
_COUNTS = {"tp", "fp", "fn", "lesions", "false_positive_components", "threshold"}
Column = tuple[str, str]  # (contrast, test set)


class Comparison:
    """The results of a matrix or of single runs, grouped for tables.

    Args:
        results: all evaluations.
        scores: scores shown of each method, also of methods without results yet; None: all that results hold, without
            post-processing ablations and the sweep over sigma.
        point: threshold: "tuned", "healthy_fpr_0.05", "oracle", ...
        force: show results of different protocols in one table.
        folds: number of folds that there should be; a cell with fewer says so.

    >>> protocol = {"method": "ddpm", "contrast": "t1", "fold": 0, "plan": {"healthy_calibration": "demo/val"}}
    >>> tumours = {"group": "demo_tumour/test", "tuning_group": "demo_tumour/val", "variants": {"l1": {}, "ssim_ens": {}}}
    >>> from pathlib import Path
    >>> results = [Result("ddpm", Path("evaluation"), {"protocol": protocol, "datasets": {"demo_tumour": tumours}})]
    >>> comparison = Comparison(results)
    >>> comparison.rows, comparison.titles()
    ([('ddpm', 'l1'), ('ddpm', 'ssim_ens')], ('demo_tumour (T1)',))
    >>> comparison.warnings[0].partition(".")[0]
    'MISSING for demo_tumour (T1): threshold_baseline and atlas_baseline'
    """

    def __init__(
        self, results: Sequence[Result], scores: Mapping[str, Sequence[str]] | None = None, point: str = "tuned",
        force: bool = False, folds: int | None = None,
    ) -> None:  # fmt: skip
        if not results:
            raise ConfigError("there is no finished evaluation to make a table of.")
        self.results, self.point = list(results), point
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

    def members(self, column: Column, method: str | None = None) -> list[Result]:
        """Return the results that belong to a column, of one method or of all."""
        mine = (r for r in self.results if r.contrast == column[0] and column[1] in r.test_sets)
        return [result for result in mine if method in (None, result.method)]

    def values(self, column: Column, method: str, variant: str, metric: str = "dice") -> dict[int, Values]:
        """Return ``{fold: {case: value}}`` of a row."""
        found = {r.fold: r.per_case(column[1], variant, self.point, metric) for r in self.members(column, method)}
        return {fold: values for fold, values in found.items() if values is not None}

    def subjects(self, column: Column, method: str, variant: str, metric: str = "dice") -> Values:
        """Return ``{case: mean over the folds where it is defined}``; None where it is in none."""
        folds = self.values(column, method, variant, metric)
        cases = dict.fromkeys(case for values in folds.values() for case in values)
        defined = {case: [v for fold in folds.values() if (v := fold.get(case)) is not None] for case in cases}
        return {case: sum(values) / len(values) if values else None for case, values in defined.items()}

    def pooled(self, column: Column, method: str, variant: str, metric: str) -> dict[int, float]:
        """Return ``{fold: value}`` of a number that is one of all scans together."""
        found = {}
        for result in self.members(column, method):
            block = result.metrics["datasets"][column[1]]["variants"].get(variant, {})
            value = block.get("pooled", {}).get(metric.removeprefix(_POOLED))
            if value is not None:
                found[result.fold] = float(value)
        return found

    def cell(self, column: Column, method: str, variant: str, metric: str = "dice") -> Cell:
        """Return mean ± std over folds and the interval (or range) over subjects."""
        if metric.startswith(_POOLED):
            return Cell.over_folds(list(self.pooled(column, method, variant, metric).values()))
        folds = self.values(column, method, variant, metric).values()
        means = [sum(v) / len(v) for fold in folds if (v := [x for x in fold.values() if x is not None])]
        known = {name: x for name, x in self.subjects(column, method, variant, metric).items() if x is not None}
        subjects = [known[name] for name in sorted(known)]
        if not means:
            return Cell()
        cell = replace(Cell.over_folds(means), subjects=len(subjects))
        if len(subjects) < MIN_SUBJECTS:
            return replace(cell, minimum=min(subjects), maximum=max(subjects))
        interval = bootstrap_ci(subjects, seed=seed_of(list(known)))
        return replace(cell, low=interval.low, high=interval.high)

    def uninformative(self, column: Column, metric: str = "dice") -> Cell:
        """Return the cell of the uninformative map; empty if the results are of a version that did not measure it."""
        for method in dict.fromkeys(r.method for r in self.results):
            if (cell := self.cell(column, method, UNINFORMATIVE, metric)).mean is not None:
                return replace(cell, std=None, folds=0)
        return Cell()

    def main(self, metric: str = "dice") -> Table:
        """Return Table 1 for a column of ``per_case.csv``, or for ``pooled_average_precision``."""
        chance = {column: self.uninformative(column, metric) for column in self.columns}
        rows = []
        for method, score in self.rows:
            cells = [(column, self.cell(column, method, score, metric)) for column in self.columns]
            if "average_precision" in metric:
                cells = [(c, replace(cell, times=_ratio(cell.mean, chance[c].mean))) for c, cell in cells]
            rows.append(((method, score), tuple(cell for _, cell in cells)))
        if any(map(defined, chance.values())):
            rows.append((("uninformative map", "-"), tuple(chance.values())))
        unit, scale = unit_of(metric)
        return Table(
            f"{self.named(metric)}{unit}", ("method", "score"), self.titles(), tuple(rows), self._notes(metric), scale
        )

    def named(self, metric: str) -> str:
        """Return the name of a metric as titles have it, with the threshold if there is one."""
        without = metric.removeprefix(_POOLED) in _WITHOUT_THRESHOLD
        return _NAMES.get(metric, metric) + ("" if without else f", at the threshold {self.point!r}")

    def titles(self) -> tuple[str, ...]:
        """Return the heads of the columns."""
        return tuple(f"{name} ({contrast.upper()})" for contrast, name in self.columns)

    def comparisons(self, pairs: Sequence[tuple[str, str]] = (), metric: str = "dice") -> Table:
        """Return paired permutation tests between rows (``"METHOD SCORE"``), p-values also corrected after Holm.

        Without pairs, SSIM-ens is compared with l1 for every method that has both. Holm's correction is over the tests of
        the whole table.
        """
        metric = metric.removeprefix(_POOLED)  # a number of all scans together cannot be paired
        default = [(f"{m} ssim_ens", f"{m} l1") for m, scores in self.scores.items() if {"ssim_ens", "l1"} <= {*scores}]
        names = {f"{method} {score}": (method, score) for method, score in self.rows}
        found = []
        for first, second in pairs or default:
            for name in (first, second):
                if name not in names:
                    raise ConfigError(f"{name!r} is no row of the table; rows are: {', '.join(map(repr, names))}.")
            for column, title in zip(self.columns, self.titles(), strict=True):
                a, b = (self.subjects(column, *names[name], metric) for name in (first, second))
                both = [case for case in a if case in b]
                defined_in_both = [case for case in both if a[case] is not None and b[case] is not None]
                if len(defined_in_both) > 1:  # the p-value of one subject is 1
                    both.sort()
                    test = paired_permutation_test([a[c] for c in both], [b[c] for c in both], seed=seed_of(both))
                    found.append(((first, second, title), test))
        rows = []
        for (head, test), adjusted in zip(found, holm([test.p_value for _, test in found]), strict=True):
            kind = "exact" if test.exact else "10 000 draws"
            rows.append((head, (Cell(test.difference), f"{test.p_value:.4f}", f"{adjusted:.4f}", str(test.n), kind)))
        return Table(
            f"Paired permutation tests of {metric}{unit_of(metric)[0]} over subjects", ("first", "second", "test set"),
            ("difference", "p", "p (Holm)", "subjects", "permutations"), tuple(rows),
            ("Two-sided, on each subject's mean over folds; test sets of one subject are left out.",),
            unit_of(metric)[1],
        )  # fmt: skip

    def _all_scores(self, result: Result) -> list[str]:
        variants = [v for block in result.metrics["datasets"].values() for v in block["variants"]]
        return list(
            dict.fromkeys(v for v in variants if "@" not in v and v != UNINFORMATIVE and not SWEEP.fullmatch(v))
        )

    def _notes(self, metric: str) -> tuple[str, ...]:
        pooled = metric.startswith(_POOLED)
        counts = ", ".join(
            f"{title} {self._scans(column)}" for column, title in zip(self.columns, self.titles(), strict=True)
        )
        few = any(self._scans(column) < MIN_SUBJECTS for column in self.columns)
        spread = f"range (a to b) of fewer than {MIN_SUBJECTS} subjects" if few else ""
        many = any(self._scans(column) >= MIN_SUBJECTS for column in self.columns)
        interval = "[95 % BCa bootstrap interval over subjects]" if many else ""
        over = " and ".join(filter(None, (interval, spread)))
        notes = [f"Mean ± standard deviation over folds{'' if pooled or not over else '; ' + over}."]
        if "average_precision" in metric:
            notes.append("(2x): twice the average precision of the uninformative map.")
        measured = any(defined(self.uninformative(column, metric)) for column in self.columns)
        notes.append(
            "Uninformative map: 1 in the evaluated region (the post-processed brain mask), 0 outside."
            if measured
            else "MISSING: the uninformative map; evaluate again, these results are of an earlier version."
        )
        notes.append(f"Folds: {self.folds}. Subjects: {counts}.")
        revisions = {str(r.protocol.get("revision")) for r in self.results}
        if len(revisions) > 1:
            notes.append(f"Made by several revisions of the code: {', '.join(sorted(revisions))}.")
        return (*notes, *self.warnings)

    def _scans(self, column: Column) -> int:
        return max((len(result.case_ids(column[1])) for result in self.members(column)), default=0)

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
            members = self.members(column)
            absent = [bundle for kind, bundle in REQUIRED.items() if kind not in {r.kind for r in members}]
            if absent:
                self.warnings.append(
                    f"MISSING for {title}: {' and '.join(absent)}. Without thresholding and atlas a number says little; "
                    "evaluate them on the same scans (seconds, no network) and add their folders."
                )
            try:
                check_comparable(members, column[1])
            except ConfigError as error:
                if not force:
                    raise
                text = str(error)  # in a table that is passed on, no folder of this machine
                for one in members:
                    text = text.replace(str(one.folder), "/".join(one.folder.parts[-3:]))
                self.warnings.append(f"FORCED, not comparable: {text}")


def operating_point(results: Sequence[Result], wanted: str | None = None) -> str:
    """Return the name of the threshold at which ``results`` are compared.

    Args:
        results: all evaluations.
        wanted: name that the user gave; None takes ``tuned`` where there is one, else the first that most rows have.

    Raises:
        ConfigError: no evaluation has ``wanted``, so that the table would be empty; the sentence names those there are.
    """
    rows = Counter(
        name
        for result in results
        for block in result.metrics["datasets"].values()
        for variant in block["variants"].values()
        for name in variant["operating_points"]
    )
    if wanted is None:
        return "tuned" if "tuned" in rows or not rows else max(rows, key=lambda name: rows[name])
    if rows and wanted not in rows:
        raise ConfigError(f"no evaluation has the threshold {wanted}; there are {', '.join(sorted(rows))}.")
    return wanted


def unit_of(metric: str) -> tuple[str, float]:
    """Return how a column of ``per_case.csv`` is shown: its unit, and the factor of the printed number.

    >>> unit_of("dice"), unit_of("fp_ml"), unit_of("lesions")
    ((' in %', 100.0), (' in ml', 1.0), ('', 1.0))
    """
    if metric.endswith("_ml"):
        return " in ml", 1.0
    return ("", 1.0) if metric in _COUNTS else (" in %", 100.0)


def _ratio(value: float | None, level: float | None) -> float | None:
    return None if value is None or not level else value / level
