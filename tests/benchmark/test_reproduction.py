# SPDX-License-Identifier: Apache-2.0
"""Verdicts at their borders, the published file, and orderings."""

import json

import pytest

from custom.benchmark.reproduction import ordering_table, reproduction_table, verdict
from custom.benchmark.tables import Comparison
from custom.core.errors import ConfigError

TOLERANCE = {"points": 2.0, "relative": 0.15, "stds": 2.0, "near_points": 8.0, "near_relative": 0.4}


@pytest.mark.parametrize(
    ("points", "published", "std", "word"),
    [
        (1.9, 45.0, 0.1, "reproduced"), (-2.1, 45.0, 0.1, "near"), (2.1, 45.0, 1.1, "reproduced"), (7.9, 45.0, None, "near"),
        (8.1, 45.0, None, "not reproduced"), (8.1, 45.0, 4.4, "not reproduced"), (None, 45.0, 1.0, "not measured"),
        (1.4, 10.0, 0.1, "reproduced"), (1.6, 10.0, 0.1, "near"), (4.1, 10.0, 0.1, "not reproduced"),
        (1.9, 4.8, 1.98, "reproduced"), (2.0, 4.8, 1.98, "not reproduced"),
    ],
)  # fmt: skip
def test_verdict(points, published, std, word):
    assert verdict(None if points is None else points / 100, published, std, TOLERANCE) == word


def test_a_model_that_finds_nothing_reproduces_nothing(repository):
    """Dice 0 in every published cell, and AP 0 in every cell of the other table."""
    content = json.loads((repository / "matrices/isbi2024.json").read_text())
    for rows in (content["published"]["rows"], content["published"]["average_precision"]):
        for cells in rows.values():
            for mean, std in cells.values():
                assert verdict(-mean / 100, mean, std, content["tolerance"]) == "not reproduced"


def test_average_precision_has_a_table_of_its_own(comparison):
    source = {
        "published": {"rows": {}, "average_precision": {"ddpm l1": {"brats21": [50.0, 2.0]}}}, "tolerance": TOLERANCE,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="no column 'average_precision'"):  # these results hold Dice only
        reproduction_table(comparison, source, "average_precision")


@pytest.fixture
def comparison(finished, baselines):
    low, high = ({f"P{n}": base + 0.01 * n for n in range(8)} for base in (0.2, 0.4))
    results = baselines({"brats21": low})
    return Comparison([*results, finished("ddpm", 0, {"brats21": {"l1": low, "ssim_ens": high}})])


def test_published_and_measured(comparison):
    source = {
        "published": {"source": "a paper", "rows": {"ddpm l1": {"brats21": [23.0, 0.5], "wmh": [10.0, None]}}},
        "tolerance": TOLERANCE, "doubts": ["a doubt"],
    }  # fmt: skip
    table = reproduction_table(comparison, source)
    assert [cells[-1] for _, cells in table.rows] == ["reproduced", "not measured"]
    assert table.rows[0][1][2].mean == pytest.approx(0.235 - 0.23)
    assert "Doubt: a doubt" in table.notes
    with pytest.raises(ConfigError, match="published row 'vae l1'"):
        reproduction_table(comparison, source | {"published": {"rows": {"vae l1": {}}}})


def test_orderings(comparison):
    """Eight equal differences: the exact two-sided p is 2 / 2^8."""
    table = ordering_table(comparison, {"orderings": [["ddpm ssim_ens", "ddpm l1"], ["ddpm l1", "ddpm ssim_ens"]]})
    assert [cells[-1] for _, cells in table.rows] == ["holds", "fails"]
    assert [float(cells[1]) for _, cells in table.rows] == pytest.approx([2 / 2**8] * 2, abs=5e-5)


def test_the_published_file_says_what_the_papers_say(repository):
    """Values of Table 1 of Behrendt et al. (ISBI 2024), typed in here a second time."""
    content = json.loads((repository / "matrices/isbi2024.json").read_text())
    rows = content["published"]["rows"]
    sets = ("brats21", "mslub", "atlas_v2", "wmh")
    table = {
        "ae l1": (31.51, 7.23, 14.91, 4.53), "ae ssim_ens": (25.88, 3.57, 8.23, 6.53),
        "dae l1": (45.37, 3.88, 8.53, 7.31), "dae ssim_ens": (59.24, 1.83, 15.03, 8.76),
        "ddpm l1": (44.25, 4.80, 12.90, 10.03), "ddpm ssim_ens": (57.44, 6.10, 14.81, 13.16),
    }  # fmt: skip
    for row, means in table.items():
        assert tuple(rows[row][name][0] for name in sets) == means
    assert content["tolerance"]
    assert content["doubts"]
    assert ["ddpm ssim_ens", "ddpm l1"] in content["orderings"]
