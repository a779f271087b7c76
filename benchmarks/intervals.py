# SPDX-License-Identifier: Apache-2.0
"""How often a "95 %" bootstrap interval of a mean over few scans holds the true mean, for a skewed Dice.

``python -m benchmarks.intervals docs/results/intervals.json`` writes the table of the documents. A minute.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from scipy import stats

from custom.benchmark.cells import Cell, Table
from custom.benchmark.rendering import write_json

SCANS = (3, 4, 6, 10, 20, 40)
# Beta(a, b), and the share of scans with Dice 0: found well, found badly, mostly missed
POPULATIONS = {"Dice 0.6": (6.0, 4.0, 0.0), "Dice 0.2": (1.0, 4.0, 0.0), "Dice 0.05, half of them 0": (1.0, 9.0, 0.5)}


def measure(repetitions: int = 600, resamples: int = 999, seed: int = 0) -> Table:
    """Return the coverage of BCa intervals by number of scans and population."""
    rng = np.random.default_rng(seed)
    rows = []
    for scans in SCANS:
        cells = []
        for a, b, missed in POPULATIONS.values():
            truth = (1 - missed) * a / (a + b)
            held = 0
            for _ in range(repetitions):
                dice = rng.beta(a, b, scans) * (rng.random(scans) >= missed)
                if dice.max() == dice.min():
                    held += bool(dice[0] == truth)
                    continue
                with warnings.catch_warnings(), np.errstate(invalid="ignore"):
                    warnings.simplefilter("ignore")
                    found = stats.bootstrap(
                        (dice,), np.mean, n_resamples=resamples, method="BCa", vectorized=True, random_state=rng
                    ).confidence_interval
                held += bool(found.low <= truth <= found.high)
            cells.append(Cell(held / repetitions))
        rows.append(((str(scans),), tuple(cells)))
    notes = (
        f"{repetitions} repetitions of {resamples} resamples; seed {seed}. This package prints intervals from 10 scans on.",
    )
    return Table(
        "Coverage in % of 95 % BCa intervals of a mean over scans", ("scans",), tuple(POPULATIONS), tuple(rows), notes
    )


if __name__ == "__main__":
    write_json(measure(), Path(sys.argv[1]), "python -m benchmarks.intervals FILE")
