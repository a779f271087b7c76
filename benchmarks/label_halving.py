# SPDX-License-Identifier: Apache-2.0
"""How much of a small lesion is left when its label goes from 1 to 2 mm: spheres at random places.

``python -m benchmarks.label_halving docs/results/label_halving.json`` writes the table of the documents. Seconds.
"""

import sys
from pathlib import Path

import numpy as np

from custom.benchmark.cells import Cell, Table
from custom.benchmark.rendering import write_json
from custom.volumes.grid import _cell_sum, halve_majority, halve_nearest_upper

RADII_MM = (1.5, 2.0, 3.0, 6.0)
SPHERES = 400


def measure(spheres: int = SPHERES, seed: int = 0) -> Table:
    """Return the volume kept and the share of spheres that vanish, by radius and rule."""
    rules = {
        "at least half of a cell (majority, default)": halve_majority,
        "more than half of a cell": lambda label: (_cell_sum(label) > 4).astype(np.uint8),
        "upper neighbour (isbi2024, released code)": halve_nearest_upper,
    }
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), axis=-1)
    places = 11 + 2 * rng.random((spheres, 3))
    rows = []
    for radius in RADII_MM:
        labels = [(((grid - place) ** 2).sum(axis=-1) <= radius**2).astype(np.uint8) for place in places]
        total = sum(int(label.sum()) for label in labels)
        for name, rule in rules.items():
            left = [int(rule(label).sum()) for label in labels]
            gone = sum(count == 0 for count in left) / len(left)
            rows.append(((f"{radius:g}", name), (Cell(8 * sum(left) / total), Cell(gone))))
    notes = (f"{spheres} spheres of 1 mm voxels at random places, each summed over all of them; seed {seed}.",)
    return Table(
        "Labels halved from 1 to 2 mm",
        ("radius in mm", "rule"),
        ("volume kept in %", "spheres lost in %"),
        tuple(rows),
        notes,
    )


if __name__ == "__main__":
    write_json(measure(), Path(sys.argv[1]), "python -m benchmarks.label_halving FILE")
