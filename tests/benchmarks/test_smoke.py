# SPDX-License-Identifier: Apache-2.0
"""The measurements that need a GPU or minutes run through on something tiny."""

import pytest
import torch

from benchmarks import gate, gpu, growth, run, threads
from custom.cohorts.gate import check


def test_the_gpu_benchmark_runs_on_a_cpu(capsys):
    assert gpu.main(["--smoke"]) == 0
    printed = capsys.readouterr().out
    assert "the numbers mean nothing" in printed
    for part in ("hours for 19,200 steps", "of the matrix rate", "forward and backward", "volumes/s", "histogram"):
        assert part in printed


def test_growth_counts_what_is_there(tmp_path):
    shape = (24, 24, 14)
    found = growth.preparation(3, str(tmp_path / "a"), shape)
    voxels = 24 * 24 * 14
    assert found["training set float32, MiB a scan"] == pytest.approx(5 * voxels / 2**20)
    assert found["training set uint8, MiB a scan"] == pytest.approx(2 * voxels / 2**20)
    assert found["cache, MiB a scan"] >= 6 * voxels / 2**20
    evaluated = growth.evaluation(3, str(tmp_path / "b"), shape)
    assert evaluated["maps on disk, MiB a case"] >= (4 * 4 + 2) * voxels / 2**20
    assert evaluated["rows of per_case.csv a case"] >= 2
    streamed = growth.histograms(5, "", shape)
    assert streamed["histogram, KiB"] < 2000
    assert growth.forward(4, "", shape)["slices"] == 4
    text = growth.table("Title", ["a", "b"], [found, found])
    assert text.count("\n|") == len(found) + 2


def test_generated_cohort_of_the_gate_is_clean_and_read_once(tmp_path):
    gate.write_cohort(tmp_path, 20, (32, 32, 24))
    found = [check(tmp_path, ["demo"], "t1") for _ in range(2)]
    assert [(one.scans, one.files, one.from_cache, one.faults) for one in found] == [
        (20, 40, 0, ()),
        (20, 40, 40, ()),
    ]


def test_measured_tables_go_between_the_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nafter\n")
    run.write_between_marks(page, "new")
    assert page.read_text() == "before\n<!-- measured: begin -->\nnew\n<!-- measured: end -->\nafter\n"
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="lacks the lines"):
        run.write_between_marks(page, "new")
    assert run.machine().startswith("- processor: ")


def test_threads_are_compared_with_processes(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["threads.py", "--size", "tiny", "--rounds", "1", "--precision", "fp32"])
    monkeypatch.setattr(threads, "SLICES", 4)
    monkeypatch.setattr(threads, "WORK", {"inference": threads.inference})  # training differs in the work alone
    before = torch.get_num_threads()
    try:
        assert threads.main() == 0
    finally:
        torch.set_num_threads(before)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| inference")]
    assert len(rows) == 3
    assert sum("| 1 thread |" in row and row.endswith("| 1.00x |") for row in rows) == 1
