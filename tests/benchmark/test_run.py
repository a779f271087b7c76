# SPDX-License-Identifier: Apache-2.0
"""The whole matrix over fake bundles: tables, figures, repetition, kill -9 at any point, tracking that cannot stop it."""

import csv
import json
import os
import signal
import time
from collections import Counter
from dataclasses import replace

import pytest

from custom.benchmark.run import run_matrix
from custom.core.errors import ConfigError, DiskFullError
from custom.runs.lock import RunLock

pytestmark = [
    pytest.mark.fault(52),
]


def read(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_all_outputs_and_nothing_twice(world, capsys):
    spec = world.spec(t_sweep={"net": [250, 750]}, comparisons=[["net ssim_ens", "threshold intensity"]])
    assert run_matrix(spec, world.places, command=world.command) == 0
    out = world.root / "out"
    names = {path.relative_to(out).as_posix() for folder in ("tables", "figures") for path in (out / folder).iterdir()}
    stems = ("table1", "comparisons", "healthy", "lesion_size", "t_sweep_net", "budget")
    assert names == {
        *(f"tables/{stem}{ending}" for stem in stems for ending in (".md", ".csv", ".tex", ".json")),
        "tables/per_case.csv", "figures/t_sweep_net.png",
    }  # fmt: skip
    rows = {(row["method"], row["score"]): row for row in read(out / "tables/table1.csv")}
    assert list(rows) == [("threshold", "intensity"), ("atlas", "zscore"), ("net", "l1"), ("net", "ssim_ens")]
    # cases 0, 0.1, 0.2, 0.3 and 0.01 more in fold 1; ssim_ens 0.05 more
    assert float(rows["net", "l1"]["demo_tumour (T2) mean"]) == pytest.approx(0.155)
    assert float(rows["net", "l1"]["demo_tumour (T2) std"]) == pytest.approx(0.01 / 2**0.5)
    assert float(rows["net", "ssim_ens"]["demo_tumour (T2) mean"]) == pytest.approx(0.205)
    trained = {row["method"]: float(row["training"]) for row in read(out / "tables/budget.csv")}
    assert list(trained) == ["threshold", "atlas", "net"]
    spent = [json.loads(path.read_text())["stages"]["training"] for path in out.glob("runs/net/*/done.json")]
    assert trained["net"] == pytest.approx(sum(stage["cpu_seconds"] for stage in spent) / len(spent) / 60, abs=0.051)
    assert all(stage["cpu_seconds"] > 0 for stage in spent)
    assert [row["t"] for row in read(out / "tables/t_sweep_net.csv")] == ["250", "500", "750"] * 2
    assert "| net | ssim_ens | 20.50 ± 0.71" in capsys.readouterr().out
    ends = Counter(line[:2] for line in world.journal() if line[2] == "end")
    assert ends["net/t2_fold0", "evaluating"] == 3
    assert run_matrix(spec, world.places, command=world.command) == 0
    assert Counter(line[:2] for line in world.journal() if line[2] == "end") == ends
    assert "8 jobs" not in (told := capsys.readouterr().err)
    assert "6 jobs, 0 to do" in told


def test_only_tables_and_only_plan_run_nothing(world):
    run_matrix(world.spec(), world.places, command=world.command, only="plan")
    assert not (world.root / "out").exists()
    with pytest.raises(ConfigError, match="no job of the matrix has finished"):
        run_matrix(world.spec(), world.places, command=world.command, only="tables")
    assert not world.journal()


def test_without_labelled_scans_a_matrix_is_shown_at_a_threshold_that_there_is(world, monkeypatch):
    monkeypatch.setenv("POINTS", "healthy_fpr_0.01")
    run_matrix(world.spec(metrics=["dice", "average_precision"]), world.places, command=world.command)
    for table in ("table1", "table1_average_precision"):
        rows = {(row["method"], row["score"]): row for row in read(world.root / f"out/tables/{table}.csv")}
        assert float(rows["net", "l1"]["demo_tumour (T2) mean"]) == pytest.approx(0.155)
    with pytest.raises(ConfigError, match="no evaluation has the threshold tuned; there are healthy_fpr"):
        run_matrix(world.spec(operating_point="tuned"), world.places, command=world.command, only="tables")


def test_a_matrix_that_grows_does_only_what_is_new(world):
    run_matrix(world.spec(folds=[0]), world.places, command=world.command)
    before = len(world.journal())
    run_matrix(world.spec(), world.places, command=world.command)
    assert {line[0].split("/")[1] for line in world.journal()[before:]} == {"t2_fold1"}


@pytest.mark.parametrize("lines", [1, 4, 9])
def test_kill_9_at_any_point_loses_at_most_the_stage_in_flight(world, monkeypatch, lines):
    monkeypatch.setenv("SLOW", "0.2")
    child = os.fork()  # a second interpreter would spend seconds on its imports
    if child == 0:
        try:
            run_matrix(world.spec(), world.places, command=world.command)
        finally:
            os._exit(0)
    while len(world.journal()) < lines:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the matrix ended before it could be killed"
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    monkeypatch.delenv("SLOW")
    assert run_matrix(world.spec(), world.places, command=world.command) == 0
    ends = Counter(line[:2] for line in world.journal() if line[2] == "end")
    starts = Counter(line[:2] for line in world.journal() if line[2] == "start")
    assert len(ends) == 12
    assert sum(starts.values()) <= 12 + 1
    assert sum(ends.values()) <= 12 + 1  # the command may have ended just before the kill, unrecorded
    assert (world.root / "out/tables/table1.md").is_file()


def test_dead_tracking_stops_nothing(world, caplog):
    places = replace(world.places, tracking_uri="http://127.0.0.1:9")
    assert run_matrix(world.spec(folds=[0]), places, command=world.command) == 0
    assert sum("tracking at http://127.0.0.1:9 does not work" in record.message for record in caplog.records) == 1


def test_a_failed_job_is_counted_and_its_fold_is_missing(world, capsys):
    (world.root / "bundle.py").write_text(
        "import sys\nif 'net' in sys.argv[3] and 't2_fold1' in ' '.join(sys.argv): sys.exit('error: no memory')\n"
        + (world.root / "bundle.py").read_text()
    )
    assert run_matrix(world.spec(), world.places, command=world.command) == 1
    told = capsys.readouterr()
    assert "net/t2_fold1: failed: training failed (exit code 1: error: no memory)" in told.err
    assert "(1 of 2 folds)" in told.out


@pytest.mark.fault(
    115,
    "disk full in `uad matrix`",
    "the matrix ends with exit code 1 instead of failing job after job; finished jobs and the earlier tables stay",
    "mended",
)
@pytest.mark.fault(130)
def test_a_full_disk_ends_the_matrix_and_leaves_the_earlier_tables(world, monkeypatch):
    """A stage that finds no space ends all, and so do tables that do not fit; nothing half-written is left."""
    out, spec = world.root / "out", world.spec(folds=[0])
    healthy = (world.root / "bundle.py").read_text()
    full = "import sys\nif 'atlas' in sys.argv[3]: raise OSError(28, 'No space left on device')\n"
    (world.root / "bundle.py").write_text(full + healthy)
    with pytest.raises(DiskFullError, match="the jobs that are left were not begun"):
        run_matrix(spec, world.places, command=world.command)
    assert {line[0].split("/")[0] for line in world.journal()} == {"threshold"}
    assert not (out / "tables").exists()
    (world.root / "bundle.py").write_text(healthy)
    assert run_matrix(spec, world.places, command=world.command) == 0
    before = {path.name: path.read_bytes() for path in (out / "tables").iterdir()}

    def no_room(table, stem):
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".md").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("custom.benchmark.run.write_table", no_room)
    with pytest.raises(OSError, match="No space left"):
        run_matrix(spec, world.places, command=world.command, only="tables")
    assert {path.name: path.read_bytes() for path in (out / "tables").iterdir()} == before
    assert {path.name for path in out.glob("[!.]*")} == {"matrix.json", "runs", "tables", "tracking.jsonl"}
    (out / "matrix.json").unlink()
    with RunLock(out), pytest.raises(ConfigError, match="in use by another process"):
        run_matrix(spec, world.places, command=world.command)
    assert not (out / "matrix.json").exists()


@pytest.mark.fault(
    120,
    "results that `uad compare` fetches from MLflow",
    "read in a temporary folder that is gone when the table is there",
    "mended",
)
def test_one_parent_run_with_children_and_the_same_table_from_it(world, capsys, tmp_path, monkeypatch):
    """MLflow: matrix > job > evaluation; what is read back from it gives the table of the folders."""
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    from custom.benchmark.rendering import csv_text
    from custom.benchmark.results import find_results, results_from_mlflow
    from custom.benchmark.tables import Comparison
    from custom.runs.outbox import Outbox

    uri = f"sqlite:///{world.root / 'mlflow.db'}"
    spec = world.spec(folds=[0])
    run_matrix(spec, world.places, command=world.command)
    evaluations = sorted((world.root / "out/runs").glob("*/*/evaluation"))
    for folder in evaluations:  # what a bundle's own tracking writes
        (folder / "tracking.jsonl").unlink()
        Outbox(folder).start("evaluation", "demo_t2", {"stage": "evaluation"}, folder.parent)
        Outbox(folder).params({"row": folder.parent.parent.name})
        for name in ("metrics.json", "per_case.csv"):
            Outbox(folder).artifact(folder / name)
        Outbox(folder).status("FINISHED")
    from custom.benchmark.tracking import MatrixTracking

    tracking = MatrixTracking(world.root / "out", uri)
    tracking.start("test", {"folds": [0]})
    for folder in evaluations:
        tracking.job(folder.parent)
    tracking.finish({"a/b": 0.5}, [world.root / "out/tables"], 0)
    client = MlflowClient(uri)
    runs = {run.info.run_id: run for e in client.search_experiments() for run in client.search_runs([e.experiment_id])}
    parents = {run_id: run.data.tags.get("mlflow.parentRunId") for run_id, run in runs.items()}
    (root,) = [run_id for run_id, parent in parents.items() if parent is None]
    assert runs[root].info.run_name == "matrix test"
    jobs = [run_id for run_id, parent in parents.items() if parent == root]
    assert sorted(runs[run_id].data.params["method"] for run_id in jobs) == ["atlas", "net", "threshold"]
    assert sorted(parents[run_id] in jobs for run_id in runs) == [False] * 4 + [True] * 3

    def table(results):
        return csv_text(Comparison(sorted(results, key=lambda r: r.method)).main())

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert table(results_from_mlflow(uri, parent=root)) == table(find_results([world.root / "out"]))
    assert list(tmp_path.glob("matrix_results_*")) == []
    with pytest.raises(ConfigError, match="has no experiment 'nothing'"):
        results_from_mlflow(uri, ["nothing"])
