# SPDX-License-Identifier: Apache-2.0
"""Numbers against hand computation, NumPy and scipy; what must not stand in one table does not."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
from scipy import stats

from custom.benchmark.cells import Cell, Table
from custom.benchmark.rendering import csv_text, latex, markdown, write_table
from custom.benchmark.results import find_results, read_result
from custom.benchmark.tables import Comparison, holm, unit_of
from custom.benchmark.views import ablation_table, draws_table, healthy_table, size_table
from custom.core.errors import ConfigError, DataError

CASES = {"A": 0.1, "B": 0.2, "C": 0.6}
COLUMN = ("t2", "mslub")


def two_folds(finished, baselines, l1, ens):
    """A method over two folds with its baselines."""
    results = baselines({"mslub": CASES}, folds=(0, 1))
    return results + [
        finished("ddpm", fold, {"mslub": {"l1": l1[fold], "ssim_ens": ens[fold]}}) for fold in range(len(l1))
    ]


@pytest.fixture
def comparison(finished, baselines):
    l1 = [{"A": 0.10, "B": 0.20, "C": 0.30}, {"A": 0.20, "B": None, "C": 0.70}]
    ens = [{"A": 0.30, "B": 0.25, "C": 0.50}, {"A": 0.40, "B": 0.35, "C": 0.90}]
    return Comparison(two_folds(finished, baselines, l1, ens), folds=2)


def test_mean_and_deviation_over_folds_by_hand(comparison):
    """Fold means 0.2 and (0.2 + 0.7) / 2 = 0.45: mean 0.325, std sqrt(2 * 0.125^2 / 1)."""
    cell = comparison.cell(COLUMN, "ddpm", "l1")
    assert cell.mean == pytest.approx(0.325)
    assert cell.std == pytest.approx(0.125 * 2**0.5)
    assert (cell.folds, cell.subjects) == (2, 3)


def test_a_subject_is_its_mean_over_the_folds_where_it_is_defined(comparison):
    assert comparison.subjects(COLUMN, "ddpm", "l1") == pytest.approx({"A": 0.15, "B": 0.2, "C": 0.5})


def test_the_interval_is_scipys_bootstrap_over_subjects(finished, baselines):
    rng = np.random.default_rng(0)
    cases = {f"P{n}": float(value) for n, value in enumerate(rng.beta(2, 5, 40))}
    results = [*baselines({"mslub": cases}), finished("ddpm", 0, {"mslub": {"l1": cases}})]
    cell = Comparison(results).cell(COLUMN, "ddpm", "l1")
    reference = stats.bootstrap(
        (np.array(list(cases.values())),), np.mean, n_resamples=20000, random_state=1
    ).confidence_interval
    width = reference.high - reference.low
    assert cell.low == pytest.approx(reference.low, abs=0.1 * width)
    assert cell.high == pytest.approx(reference.high, abs=0.1 * width)
    assert cell.std is None  # one fold has no deviation over folds


def test_the_paired_test_is_scipys(comparison):
    table = comparison.comparisons([("ddpm ssim_ens", "ddpm l1")])
    ((_, (difference, p, adjusted, n, kind)),) = table.rows
    a, b = np.array([0.35, 0.30, 0.70]), np.array([0.15, 0.20, 0.50])
    reference = stats.permutation_test(
        (a, b),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert difference.mean == pytest.approx((a - b).mean())
    assert float(p) == pytest.approx(reference.pvalue)
    assert (n, kind) == ("3", "exact")
    assert p == adjusted  # a single test


def test_ssim_ens_against_l1_is_the_default_comparison(comparison):
    assert [head[:2] for head, _ in comparison.comparisons().rows] == [("ddpm ssim_ens", "ddpm l1")]


@pytest.mark.parametrize("p_values", [[0.01, 0.04, 0.03], [0.2], [0.5, 0.6, 0.9, 0.001], []])
def test_holm_by_its_definition(p_values):
    """p_(i) adjusted = max over j <= i of min(1, (m - j + 1) p_(j))."""
    ordered = sorted(p_values)
    m = len(p_values)
    expected = {p: max(min(1.0, (m - j) * ordered[j]) for j in range(ordered.index(p) + 1)) for p in ordered}
    assert holm(p_values) == pytest.approx([expected[p] for p in p_values])


def test_fewer_folds_than_planned_are_told(finished, baselines):
    results = two_folds(finished, baselines, [{"A": 0.1, "B": 0.2}], [{"A": 0.1, "B": 0.3}])
    assert "(1 of 2 folds)" in markdown(Comparison(results, folds=2).main())


def test_a_table_without_thresholding_and_atlas_says_what_is_missing(finished):
    network = finished("ddpm", 0, {"mslub": {"l1": CASES}})
    threshold = finished("threshold", 0, {"mslub": {"intensity": CASES}})
    text = markdown(Comparison([network]).main())
    assert "MISSING for mslub (T2): threshold_baseline and atlas_baseline." in text
    assert "MISSING for mslub (T2): atlas_baseline." in markdown(Comparison([network, threshold]).main())


def test_the_same_scans_have_the_same_interval_in_every_table(finished):
    """Neither the name of a row nor the rows beside it change an interval."""
    rng = np.random.default_rng(1)
    cases = {f"P{n}": float(value) for n, value in enumerate(rng.beta(2, 5, 12))}
    shuffled = dict(reversed(cases.items()))
    alone = Comparison([finished("ddpm", 0, {"mslub": {"l1": cases}})]).cell(COLUMN, "ddpm", "l1")
    renamed = finished("other", 0, {"mslub": {"ssim_ens": shuffled}}, sub="x")
    other = Comparison([renamed, finished("atlas", 0, {"mslub": {"zscore": cases}})]).cell(COLUMN, "other", "ssim_ens")
    assert alone.low is not None
    assert (alone.low, alone.high) == (other.low, other.high)


def test_fewer_than_ten_scans_have_a_range_and_no_interval(comparison):
    cell = comparison.cell(COLUMN, "ddpm", "l1")
    assert (cell.low, cell.high) == (None, None)
    assert (cell.minimum, cell.maximum) == pytest.approx((0.15, 0.5))
    text = markdown(comparison.main())
    assert "(15.0 to 50.0)" in text
    assert "bootstrap" not in text


def test_every_table_has_the_uninformative_map_and_average_precision_as_its_multiple(finished):
    """Scans' own AP and the pooled one are two numbers with two names."""
    result = finished("ddpm", 0, {"mslub": {"l1": CASES, "uninformative": {"A": 0.05, "B": 0.1, "C": 0.15}}})
    folder = result.folder
    text = (folder / "per_case.csv").read_text().replace(",dice", ",average_precision")
    (folder / "per_case.csv").write_text(text)
    content = json.loads((folder / "metrics.json").read_text())
    for variant, value in (("l1", 0.2), ("uninformative", 0.08)):
        content["datasets"]["mslub"]["variants"][variant]["pooled"] = {"average_precision": value}
    (folder / "metrics.json").write_text(json.dumps(content))
    comparison = Comparison([read_result(folder)])
    assert comparison.rows == [("ddpm", "l1")]
    mean, pooled = comparison.main("average_precision"), comparison.main("pooled_average_precision")
    assert [head for head, _ in mean.rows] == [("ddpm", "l1"), ("uninformative map", "-")]
    assert mean.rows[0][1][0].times == pytest.approx(0.3 / 0.1)
    assert pooled.rows[0][1][0].times == pytest.approx(0.2 / 0.08)
    assert pooled.rows[0][1][0].mean == 0.2
    assert (mean.title, pooled.title) == ("AP, mean of scans in %", "AP, pooled over the voxels of all scans in %")
    assert "(3.00x)" in markdown(mean)


def test_one_subject_is_no_paired_test_and_does_not_count_for_holm(finished):
    several = {f"P{n}": 0.1 * n for n in range(1, 7)}
    better = {case: value + 0.1 for case, value in several.items()}
    result = finished(
        "ddpm", 0, {"wmh": {"l1": {"A": 0.2}, "ssim_ens": {"A": 0.4}}, "mslub": {"l1": several, "ssim_ens": better}}
    )
    ((head, cells),) = Comparison([result]).comparisons().rows
    assert head == ("ddpm ssim_ens", "ddpm l1", "mslub (T2)")
    assert cells[1] == cells[2] == f"{2 / 2**6:.4f}"


def test_a_folder_of_tracked_copies_is_not_read_twice(finished, tmp_path):
    result = finished("ddpm", 0, {"mslub": {"l1": CASES}})
    for copy in ("mlartifacts/1/2/artifacts", "mlruns/1", "previous/evaluation"):
        shutil.copytree(result.folder, tmp_path / "results" / copy)
    assert [r.folder for r in find_results([tmp_path / "results"])] == [result.folder]


def test_rates_on_held_out_healthy_scans_stand_in_a_table(finished):
    result = finished("ddpm", 0, {"mslub": {"l1": CASES}, "wmh": {"l1": CASES}})
    content = json.loads((result.folder / "metrics.json").read_text())
    for name, held_out in (("mslub", True), ("wmh", False)):
        point = content["datasets"][name]["variants"]["l1"]["operating_points"]["tuned"]
        point.update(healthy_fpr=0.031, healthy_fpr_held_out=held_out)
    (result.folder / "metrics.json").write_text(json.dumps(content))
    table = healthy_table(Comparison([read_result(result.folder)]))
    ((_, (held_out, calibration)),) = table.rows
    assert held_out.mean == pytest.approx(0.031)
    assert calibration == "3.10 (calibration scans)"
    mixed = Table("", ("method",), ("a", "b"), ((("x",), (Cell(0.1), "text")), (("y",), ("text", Cell(0.2)))))
    head, *lines = csv.reader(io.StringIO(csv_text(mixed)))
    assert [dict(zip(head, line, strict=True))["b mean"] for line in lines] == ["text", "0.2"]


def test_spread_over_noise_draws(finished):
    """Three evaluations of one model that differ in the noise drawn: mean and deviation over them."""
    results = [finished("ddpm", 0, {"mslub": {"l1": CASES}})]
    for seed, dice in ((2, 0.4), (3, 0.6)):
        folder = results[0].folder.with_name(f"evaluation_{seed}")
        shutil.copytree(results[0].folder, folder)
        content = json.loads((folder / "metrics.json").read_text())
        content["protocol"]["first_draw"] = seed
        (folder / "metrics.json").write_text(json.dumps(content))
        text = re.sub(r"tuned,[0-9.]+", f"tuned,{dice}", (folder / "per_case.csv").read_text())
        (folder / "per_case.csv").write_text(text)
        results.append(read_result(folder, f"ddpm_{seed}"))
    table = draws_table(Comparison(results), "dice")
    ((head, (cell,)),) = table.rows
    assert head == ("ddpm", "l1", "3")
    assert (cell.mean, cell.std) == pytest.approx((np.mean([0.3, 0.4, 0.6]), np.std([0.3, 0.4, 0.6], ddof=1)))
    assert draws_table(Comparison(results[:1]), "dice") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"preparation": {"name": "isbi2024"}}, "preparation"),
        ({"postprocessing": {"in_mm": {"median_mm": 6}}}, "post-processing"),
        ({"spacing_mm": [1, 1, 1]}, "voxel size"),
        ({"data": {"mslub/test": "other scans", "mslub/val": "mslub val", "ixi/val": "fold 0"}}, "test scans"),
        ({"data": {"mslub/test": "mslub test", "mslub/val": "other", "ixi/val": "fold 0"}}, "tuning scans"),
        ({"data": {"mslub/test": "mslub test", "mslub/val": "mslub val", "ixi/val": "x"}}, "healthy validation scans"),
    ],
)
def test_other_protocols_are_refused_unless_forced(finished, change, words, baselines):
    results = [*baselines({"mslub": CASES}), finished("ddpm", 0, {"mslub": {"l1": CASES}}, **change)]
    with pytest.raises(ConfigError, match=words):
        Comparison(results)
    text = markdown(Comparison(results, force=True).main())
    assert "FORCED, not comparable" in text
    assert str(results[0].folder.parent) not in text


def test_other_healthy_folds_and_ablations_are_no_other_protocol(finished, baselines):
    more = {"postprocessing": {"in_mm": {"median_mm": 10}}}
    results = [*baselines({"mslub": CASES}, folds=(0, 1)), finished("ddpm", 1, {"mslub": {"l1": CASES}}, **more)]
    assert Comparison(results).columns == [COLUMN]


def test_two_runs_of_one_name_are_refused(finished, baselines):
    results = baselines({"mslub": CASES})
    twice = [finished("ddpm", 0, {"mslub": {"l1": CASES}}), finished("ddpm", 0, {"mslub": {"l1": CASES}}, sub="_again")]
    with pytest.raises(ConfigError, match="are both ddpm, t2, fold 0"):
        Comparison([*results, *twice])


def test_contrasts_and_test_sets_are_columns(finished, baselines):
    results = baselines({"mslub": CASES}) + baselines({"wmh": CASES}, contrast="t1")
    table = Comparison(results).main()
    assert table.columns == ("mslub (T2)", "wmh (T1)")
    assert "–" not in markdown(table)


def test_the_three_formats_hold_the_same_numbers(comparison, tmp_path):
    table = comparison.main()
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    row = next(r for r in rows if (r["method"], r["score"]) == ("ddpm", "l1"))
    assert float(row["mslub (T2) mean"]) == comparison.cell(COLUMN, "ddpm", "l1").mean
    line = next(line for line in markdown(table).splitlines() if line.startswith("| ddpm | l1"))
    assert "32.50 ± 17.68 (15.0 to 50.0)" in line
    tex = next(line for line in latex(table).splitlines() if line.startswith(r"ddpm & l1"))
    assert r"32.50 $\pm$ 17.68 (15.0 to 50.0)" in tex
    assert tex.endswith(r"\\")
    assert [p.suffix for p in write_table(table, tmp_path / "t")] == [".md", ".csv", ".tex", ".json"]


def test_latex_signs_are_escaped():
    table = Table("a_b", ("x",), ("50 %",), ((("ssim_ens",), (Cell(),)),))
    assert r"ssim\_ens & -- \\" in latex(table)
    assert r"50 \%" in latex(table)


def test_units():
    table = Table("", ("x",), ("y",), ((("ml",), (Cell(2.5, 0.5),)),), scale=1.0)
    assert "| ml | 2.50 ± 0.50 |" in markdown(table)
    assert [unit_of(name) for name in ("dice", "fp_ml", "fp")] == [(" in %", 100.0), (" in ml", 1.0), ("", 1.0)]


def test_size_strata(finished, baselines):
    found = [{"lesion_recall_0_to_100_mm3": 0.2, "lesion_recall_100_and_more_mm3": None}] * 2
    found[1] = {"lesion_recall_0_to_100_mm3": 0.4, "lesion_recall_100_and_more_mm3": 1.0}
    results = baselines({"mslub": CASES}, folds=(0, 1))
    results += [finished("ddpm", fold, {"mslub": {"l1": CASES}}, lesion_wise=found[fold]) for fold in (0, 1)]
    table = size_table(Comparison(results))
    assert table.columns == ("0–100 mm³", "≥ 100 mm³")
    ((_, cells),) = table.rows
    assert cells[0].mean == pytest.approx(0.3)
    assert cells[0].std == pytest.approx(0.02**0.5)
    assert (cells[1].mean, cells[1].std, cells[1].folds) == (1.0, None, 1)


def test_ablation_shows_each_chain(finished, baselines):
    raised = {case: value / 2 for case, value in CASES.items()}
    results = [*baselines({"mslub": CASES}), finished("ddpm", 0, {"mslub": {"l1": CASES, "l1@none": raised}})]
    table = ablation_table(Comparison(results))
    assert table.columns == ("in_mm", "none")
    ((head, cells),) = table.rows
    assert head == ("ddpm", "l1", "mslub (T2)")
    assert [cell.mean for cell in cells] == pytest.approx([0.3, 0.15])


def test_results_are_found_below_folders_and_named(finished, tmp_path):
    made = finished("ddpm", 0, {"mslub": {"l1": CASES}})
    assert [r.method for r in find_results([tmp_path / "results"])] == ["ddpm"]
    assert [r.method for r in find_results([f"my net={made.folder.parent}"])] == ["my net"]
    with pytest.raises(DataError, match="no finished evaluation"):
        find_results([tmp_path / "nothing"])


def test_damaged_results_and_unknown_metrics_are_named(finished):
    made = finished("ddpm", 0, {"mslub": {"l1": CASES}})
    with pytest.raises(ConfigError, match=r"no column 'dise'; numbers are: dice"):
        made.per_case("mslub", "l1", "tuned", "dise")
    (made.folder / "metrics.json").write_text("{}")
    with pytest.raises(DataError, match=re.escape("metrics.json is damaged")):
        read_result(made.folder)
