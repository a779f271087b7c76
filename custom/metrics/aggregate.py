# SPDX-License-Identifier: Apache-2.0
"""From the metrics of single cases to a table: mean, standard deviation, range, interval, and how many cases count.

A metric that is undefined for a case is None there: it is left out of that metric and counted under ``excluded``.
Standard deviations have ddof = 1 (sample estimate); the released code of Behrendt et al. (ISBI 2024) uses 0 over cases,
and how its table's deviation over folds was taken is not stated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import DataError
from .bootstrap import MIN_SUBJECTS, bootstrap_ci

Summary = dict[str, float | int | None]


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Return mean and standard deviation, e.g. over folds; None for the latter of a single value."""
    column = np.asarray(values, dtype=np.float64)
    if not column.size:
        raise DataError("A mean over folds or cases needs at least one value.")
    return float(column.mean()), float(column.std(ddof=1)) if column.size > 1 else None


def summarise_cases(cases: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Summary]:
    """Summarise every numeric metric over cases (one subject each).

    Args:
        cases: ``{metric: value}`` of each case; None or a missing key = undefined, texts are passed over.
        seed: of the bootstrap, see :func:`~custom.metrics.bootstrap.bootstrap_ci`.

    Returns:
        ``{metric: {mean, std, n, excluded, min, max, ci_low, ci_high}}``; what too few cases leave undefined is None. There
        is no interval for fewer than ten cases.

    >>> summary = summarise_cases([{"dice": 0.5}, {"dice": 0.7}, {"dice": None}])["dice"]
    >>> round(summary["mean"], 6), summary["n"], summary["excluded"]
    (0.6, 2, 1)
    """
    names = dict.fromkeys(name for case in cases for name, value in case.items() if not isinstance(value, str))
    return {name: _summarise(name, cases, seed) for name in names}


def _summarise(name: str, cases: Sequence[Mapping[str, Any]], seed: int) -> Summary:
    values = [float(case[name]) for case in cases if case.get(name) is not None]
    if not np.isfinite(values).all():
        raise DataError(
            f"Metric {name!r} is NaN or infinite for {int((~np.isfinite(values)).sum())} of {len(cases)} cases. An "
            "undefined metric is None; anything else would hide a fault in the mean."
        )
    summary: Summary = dict.fromkeys(("mean", "std", "n", "excluded", "min", "max", "ci_low", "ci_high"))
    summary.update(n=len(values), excluded=len(cases) - len(values))
    if values:
        summary["mean"], summary["std"] = mean_std(values)
        summary.update(min=min(values), max=max(values))
    if len(values) >= MIN_SUBJECTS:
        interval = bootstrap_ci(values, seed=seed)
        summary.update(ci_low=interval.low, ci_high=interval.high)
    return summary
