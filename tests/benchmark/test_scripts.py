# SPDX-License-Identifier: Apache-2.0
"""The two command lines: exit codes, sentences, and the table of finished runs."""

import json
import re
import runpy
import sys
from functools import reduce
from pathlib import Path

import pytest

from custom.benchmark.spec import read_spec
from custom.core.errors import ConfigError
from custom.core.resources import matrix_file


@pytest.fixture
def call(repository, monkeypatch, capsys):
    """Return ``call(script, *arguments) -> (exit code, stdout, stderr)``."""

    def run(script, *arguments):
        monkeypatch.chdir(repository)
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(repository / "scripts" / script), run_name="__main__")
        told = capsys.readouterr()
        return end.value.code, told.out, told.err

    return run


MATRICES = sorted((Path(__file__).parents[2] / "matrices").glob("*.json"))


@pytest.mark.parametrize("path", MATRICES, ids=lambda path: path.stem)
def test_what_a_shipped_matrix_takes_from_shared_files_is_there(path, repository):
    for file, name in re.findall(r'"%([^":]+)::([\w:]+)"', path.read_text(encoding="utf-8")):
        content = json.loads((repository / file).read_text(encoding="utf-8"))
        assert reduce(dict.__getitem__, name.split("::"), content), name


@pytest.mark.parametrize(
    "name",
    ["demo", "isbi2024", "cddpm2024", "contrast_change", "ablation_demo", "ablation_halving", "one_model", "baselines"],
)
def test_the_shipped_matrices_are_valid_up_to_the_data(call, repository, tmp_path, name):
    """Without data the plan stops at the first split list, behind all checks of methods, scores and overrides."""
    arguments = ["--dataset_dir", tmp_path, "--output_dir", tmp_path / "out", "--only", "plan"]
    code, _, told = call("benchmark.py", repository / f"matrices/{name}.json", *arguments)
    assert code == 4
    assert "train_fold0.csv" in told


@pytest.mark.parametrize("name", ["real_t1", "noise_real_t1", "ablation_real_t1"])
def test_a_matrix_of_planted_lesions_says_how_they_are_planted(call, repository, tmp_path, name):
    arguments = ["--dataset_dir", tmp_path, "--output_dir", tmp_path / "out", "--only", "plan"]
    code, _, told = call("benchmark.py", repository / f"matrices/{name}.json", *arguments)
    assert (code, told.count("\n")) == (2, 1)
    assert "planted_tumour" in told
    assert "uad plant" in told


def test_matrices_of_the_package_go_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert matrix_file("demo") == matrix_file("matrices/demo.json")
    assert read_spec("demo").name == "demo"
    with pytest.raises(ConfigError, match="no matrix dmo; did you mean demo"):
        matrix_file("dmo")
    (tmp_path / "demo").write_text("{}")  # a file of one's own comes first
    assert matrix_file("demo").resolve() == tmp_path / "demo"


def test_an_unreadable_matrix_is_one_sentence(call, tmp_path):
    (tmp_path / "matrix.json").write_text("{")
    arguments = ["--dataset_dir", tmp_path, "--output_dir", tmp_path]
    assert call("benchmark.py", tmp_path / "matrix.json", *arguments)[0] == 2
    code, _, told = call("benchmark.py", tmp_path / "none.json", *arguments)
    assert (code, told.count("\n")) == (2, 1)
    assert "there is no matrix" in told


def test_the_reproduce_file_runs_on_other_data(world, repository, monkeypatch):
    """isbi2024.json with its own bundles, overrides and published rows; only data and the command are stand-ins."""
    from custom.benchmark.run import run_matrix
    from custom.benchmark.spec import parse_spec

    monkeypatch.chdir(repository)
    content = json.loads((repository / "matrices/isbi2024.json").read_text())
    content["folds"] = [0, 1]
    content["contrasts"] = {"t2": {"dataset_name": "demo", "test_sets": ["demo_tumour"]}}
    content["evaluate"]["healthy_test"] = False
    for row in content["published"]["rows"].values():
        row["demo_tumour"] = row.pop("brats21")
    content["published"]["rows"]["ddpm l1"]["demo_tumour"] = [15.0, 1.0]
    assert run_matrix(parse_spec(content), world.places, command=world.command) == 0
    table = (world.root / "out/tables/reproduction.md").read_text()
    # the stand-in gives 0, 0.1, 0.2, 0.3 for l1 and 0.01 more in fold 1; 0.05 more for ssim_ens
    assert "| ddpm l1 | demo_tumour | 15.00 ± 1.00 | 15.50 ± 0.71" in table
    ensemble = next(line for line in table.splitlines() if line.startswith("| ddpm ssim_ens | demo_tumour"))
    assert "57.44 ± 1.40 | 20.50 ± 0.71" in ensemble
    assert ensemble.endswith("| not reproduced |")
    assert "| pddpm_3t l1 | demo_tumour |" in table
    assert table.count("Doubt:") == len(content["doubts"])
    # four equal differences: the exact two-sided p is 2 / 2^4, which shows nothing
    assert "not significant" in (world.root / "out/tables/orderings.md").read_text()


def test_compare_prints_the_table(call, finished, baselines, tmp_path):
    cases = {f"P{n}": 0.1 * n for n in range(5)}
    baselines({"mslub": cases})
    finished("ddpm", 0, {"mslub": {"l1": cases, "ssim_ens": {c: v + 0.1 for c, v in cases.items()}, "ssim_0.3": cases}})
    code, out, _ = call("compare.py", tmp_path / "results", "--output", tmp_path / "table")
    assert code == 0
    assert "| ddpm | ssim_ens | 30.00 (" in out
    assert "ssim_0.3" not in out
    assert "| ddpm ssim_ens | ddpm l1 | mslub (T2) | 10.00 | 0.0625 |" in out
    assert (tmp_path / "table.tex").is_file()
    code, out, _ = call("compare.py", tmp_path / "results", "--scores", "l1", "--format", "csv")
    assert "ssim_ens" not in out


def test_compare_refuses_in_one_sentence(call, finished, baselines, tmp_path):
    cases = {"A": 0.1, "B": 0.2}
    baselines({"mslub": cases})
    finished("ddpm", 0, {"mslub": {"l1": cases}}, spacing_mm=[1, 1, 1])
    code, _, told = call("compare.py", tmp_path / "results")
    assert code == 2
    assert "differ in voxel size" in told
    code, out, _ = call("compare.py", tmp_path / "results", "--force")
    assert code == 0
    assert "FORCED" in out


def test_compare_takes_a_threshold_that_is_there(call, finished, baselines, tmp_path):
    """Evaluations without labelled scans to tune on have no threshold ``tuned``: a table of dashes says nothing."""
    baselines({"mslub": {"A": 0.1, "B": 0.2}})
    for path in (tmp_path / "results").rglob("metrics.json"):
        metrics = json.loads(path.read_text())
        for block in metrics["datasets"].values():
            for variant in block["variants"].values():
                variant["operating_points"] = {"healthy_fpr_0.01": variant["operating_points"]["tuned"]}
        path.write_text(json.dumps(metrics))
    code, out, _ = call("compare.py", tmp_path / "results")
    assert code == 0
    assert "at the threshold 'healthy_fpr_0.01'" in out
    code, _, told = call("compare.py", tmp_path / "results", "--point", "tuned")
    assert (code, told.count("\n")) == (2, 1)
    assert "there are healthy_fpr_0.01" in told


def test_the_published_file_is_json_without_surprises(repository):
    for path in sorted((repository / "matrices").glob("*.json")):
        assert json.loads(path.read_text())["name"] == path.stem
