# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
import time
from pathlib import Path

import mlflow.tracking
import psutil
import pytest

from custom.cli.main import main
from custom.runs.outbox import Outbox, born_s, is_alive
from custom.runs.sync import STATE_NAME, _name, sync_outbox

ROOT = Path(__file__).resolve().parents[2]
SYNC = """
import os, sys
import custom.runs.sync as module
class Killed(module._Sender):
    def flush(self):
        if self.metrics:
            os._exit(9)  # after the run was made, before anything was remembered
{patch}
module.sync_outbox(sys.argv[1], sys.argv[2])
"""


def test_sending_killed_at_the_worst_moments_loses_and_doubles_nothing(tmp_path):
    """First while the database is made, then between making the run and remembering it."""
    outbox, database = Outbox(tmp_path / "run"), tmp_path / "mlflow.db"
    uri = f"sqlite:///{database}"
    outbox.start("run", "exp", {})
    outbox.metrics({"odd (name)": 1.0}, 1)
    outbox.status("FINISHED")
    command = [sys.executable, "-c", SYNC.format(patch=""), str(outbox.folder), uri]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(path.stat().st_size for path in tmp_path.glob("*mlflow.db")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not database.exists()
    killed = [sys.executable, "-c", SYNC.format(patch="module._Sender = Killed"), str(outbox.folder), uri]
    assert subprocess.run(killed, cwd=ROOT, stderr=subprocess.DEVNULL, check=False).returncode == 9
    assert not (outbox.folder / STATE_NAME).exists()

    assert sync_outbox(outbox.folder, uri) == 3
    client = mlflow.tracking.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"odd _name_": 1.0}


def test_runs_started_by_one_process_in_one_millisecond_stay_two(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1.7e9)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for name in ("first", "second"):
        Outbox(tmp_path / name).start(name, "exp", {})
        sync_outbox(tmp_path / name, uri)
    client = mlflow.tracking.MlflowClient(uri)
    experiment = client.get_experiment_by_name("exp")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"  # or the curves are hidden
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name for run in runs} == {"first", "second"}


@pytest.mark.parametrize(("key", "name"), [("train/loss", "train/loss"), ("a(b)=c", "a_b__c"), ("x" * 300, "x" * 250)])
def test_names_are_what_mlflow_accepts(key, name):
    assert _name(key) == name


def test_reused_process_number_is_not_alive():
    born = psutil.Process().create_time() * 1000
    assert is_alive(os.getpid(), int(born) + 1000)
    assert not is_alive(os.getpid(), int(born) - 60_000)
    assert not is_alive(2**22 + 1, 0)


@pytest.mark.fault(
    12,
    "the clock of the machine is set while a training runs",
    "the record of the run asks how long after the start of the machine its process began: a running one is not marked as failed, a later one with its number is not taken for it",
    "mended",
)
def test_setting_the_clock_neither_ends_a_run_nor_revives_one(tmp_path, monkeypatch):
    """Forward by a day: the running process seems to have begun after it wrote. Back: a later one seems to have been there."""
    outbox = Outbox(tmp_path)
    outbox.start("run", "exp", {})
    boot, day_s = psutil.boot_time, 86_400
    monkeypatch.setattr(psutil, "boot_time", lambda: boot() + day_s)
    born = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: born(self) + day_s)
    assert not outbox.mark_dead()
    assert is_alive(os.getpid(), 0, born_s(os.getpid()))
    assert not is_alive(os.getpid(), 2**60, born_s(os.getpid()) - 60)


@pytest.mark.fault(
    125,
    "the disk is full while `uad sync` sends",
    "said so, not that the server cannot be reached; nothing is lost",
    "mended",
)
def test_a_full_disk_is_no_server_that_cannot_be_reached(tmp_path, monkeypatch, capsys):
    Outbox(tmp_path).start("run", "exp", {})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("custom.runs.sync.sync_outbox", full)
    assert main(["sync", str(tmp_path), "--tracking_uri", "sqlite:///x.db"]) == 1
    said = capsys.readouterr().err
    assert f"the disk is full (that of {tmp_path}, or of sqlite:///x.db); nothing is lost" in said
