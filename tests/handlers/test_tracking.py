# SPDX-License-Identifier: Apache-2.0
"""A tracking server in whatever state never stops a run, and everything arrives in the end, once."""

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events

import custom.handlers.tracking as module
from custom.handlers.tracking import BackgroundSync, Tracking
from custom.tracking import Outbox, sync_outbox
from custom.tracking.sync import mark_dead

ROOT = Path(__file__).resolve().parents[2]


def _run(folder, tracking_uri=None, iterations=6, **kwargs):
    engine = Engine(lambda _, number: {"loss": torch.tensor(float(number))})
    validator = Engine(lambda *_: None)
    tracking = Tracking(folder, tracking_uri, "exp", {"lr": 0.1, "channels": [1, 2]}, every=2, **kwargs)
    tracking.attach(engine)
    tracking.attach_validation(validator)

    @validator.on(Events.EPOCH_COMPLETED)
    def measure():
        validator.state.metrics = {"l1": 0.25, "not a number": torch.zeros(3)}

    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _: validator.run(range(1)))
    engine.run(range(iterations))
    return [event for event, _ in Outbox(folder).lines()]


def test_outbox_holds_the_story_of_a_run(tmp_path):
    (tmp_path / "model.txt").write_text("weights")
    events = _run(tmp_path, artifacts=[tmp_path / "model.txt", tmp_path / "absent"], tags={"method": "ae"})
    assert all(event.pop("time") > 1.7e12 for event in events)
    assert (events[0]["run"]["name"], events[0]["run"]["tags"]) == (tmp_path.name, {"method": "ae"})
    assert events[1:] == [
        {"params": {"lr": "0.1", "channels": "[1, 2]"}},
        *({"metrics": {"train/loss": float(step - 1)}, "step": step} for step in (2, 4, 6)),
        {"metrics": {"validation/l1": 0.25}, "step": 1},
        {"artifact": str(tmp_path / "model.txt"), "to": ""},
        {"status": "FINISHED"},
    ]


def test_only_the_first_process_writes(tmp_path):
    assert _run(tmp_path, write=False) == []
    assert list(tmp_path.iterdir()) == []


def test_server_that_refuses_costs_one_warning(tmp_path, monkeypatch, caplog):
    def refuse(*_, **__):
        raise ConnectionError("401 Unauthorized\nmore")

    monkeypatch.setattr(module, "sync_outbox", refuse)
    with caplog.at_level(logging.WARNING, "custom"):
        events = _run(tmp_path, "http://127.0.0.1:9")
    assert events[-1]["status"] == "FINISHED"
    warnings = [record.message for record in caplog.records if "tracking at" in record.message]
    assert len(warnings) == 1
    assert "401 Unauthorized" in warnings[0]
    assert f"scripts/track_sync.py {tmp_path}" in warnings[0]


def test_server_that_hangs_is_given_up_after_the_patience(tmp_path, monkeypatch, caplog):
    release, asked = threading.Event(), []
    joined = []

    def hang(folder, uri, stop):
        release.wait(60)
        asked.append(stop())

    monkeypatch.setattr(module, "sync_outbox", hang)
    sync = BackgroundSync(tmp_path, "http://127.0.0.1:9", patience_s=0.05)
    monkeypatch.setattr(sync._thread, "join", lambda limit, join=sync._thread.join: (joined.append(limit), join(limit)))
    sync.start()
    with caplog.at_level(logging.WARNING, "custom"):
        sync.finish()
    release.set()
    threading.Thread.join(sync._thread, 60)
    assert joined == [0.05]
    assert asked[0] is True  # the late thread is told to stop before its next line
    assert "takes too long" in caplog.text
    assert BackgroundSync(tmp_path, "x").patience_s <= 5


def test_unreachable_server_is_asked_once_with_a_short_timeout(tmp_path, monkeypatch):
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.delenv(name, raising=False)
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                asked.append(1)
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        _run(tmp_path)
        with pytest.raises(Exception, match=r"Max retries exceeded|Connection"):
            sync_outbox(tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
    assert len(asked) == 1
    assert int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 5
    state = json.loads((tmp_path / "tracking_state.json").read_text())
    assert [known["offset"] for known in state.values()] == [0]


SYNC = "import sys; from custom.tracking import sync_outbox; print(sync_outbox(sys.argv[1], sys.argv[2]))"


def _sync_elsewhere(folder, uri):
    command = [sys.executable, "-c", SYNC, str(folder), uri]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory):
    """A database that two processes made at the same time, each with a run of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    _run(folder / "a")
    _run(folder / "b")
    other = _sync_elsewhere(folder / "b", uri)
    sent = sync_outbox(folder / "a", uri)
    printed, errors = other.communicate(timeout=120)
    assert other.returncode == 0, errors
    assert (sent, int(printed)) == (7, 7)
    return folder / "mlflow.db"


@pytest.fixture
def database(fresh_database, tmp_path):
    return f"sqlite:///{shutil.copy(fresh_database, tmp_path / 'mlflow.db')}"


def _runs(uri):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name("exp")
    return client, {run.info.run_name: run for run in client.search_runs([found.experiment_id])}


def test_processes_that_start_together_share_a_new_database(fresh_database):
    _, runs = _runs(f"sqlite:///{fresh_database}")
    assert sorted(runs) == ["a", "b"]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_everything_arrives_exactly_once(database, tmp_path):
    folder = tmp_path / "c"
    _run(folder)
    assert sync_outbox(folder, database) == 7
    assert sync_outbox(folder, database) == 0
    Outbox(folder).metrics({"train/loss": 7.0}, 8)
    assert sync_outbox(folder, database) == 1
    client, runs = _runs(database)
    assert sorted(runs) == ["a", "b", "c"]
    history = client.get_metric_history(runs["c"].info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(2, 1.0), (4, 3.0), (6, 5.0), (8, 7.0)]
    assert runs["c"].data.params == {"lr": "0.1", "channels": "[1, 2]"}


def test_resumed_run_goes_on_and_a_crashed_one_is_marked(database, tmp_path):
    folder = tmp_path / "d"
    script = f"from custom.tracking import Outbox; Outbox({str(folder)!r}).start('d', 'exp', {{}})"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)  # its process is gone without a word
    sync_outbox(folder, database)
    assert _runs(database)[1]["d"].info.status == "RUNNING"
    assert mark_dead(folder)
    assert not mark_dead(folder)
    sync_outbox(folder, database)
    assert _runs(database)[1]["d"].info.status == "FAILED"
    _run(folder)
    sync_outbox(folder, database)
    _, runs = _runs(database)
    assert sorted(runs) == ["a", "b", "d"]
    assert runs["d"].info.status == "FINISHED"


def test_live_run_is_not_marked(tmp_path):
    Outbox(tmp_path).start("live", "exp", {})
    assert not mark_dead(tmp_path)


def test_evaluation_hangs_below_its_training_and_brings_files(database, tmp_path):
    training, evaluation = tmp_path / "e", tmp_path / "e" / "evaluation"
    _run(training)
    sync_outbox(training, database)
    (tmp_path / "metrics.json").write_text("{}")
    _run(evaluation, name="e evaluation", parent=training, prefix="evaluation", artifacts=[tmp_path / "metrics.json"])
    sync_outbox(evaluation, database)
    client, runs = _runs(database)
    run = runs["e evaluation"]
    assert run.data.tags["mlflow.parentRunId"] == runs["e"].info.run_id
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["metrics.json"]


def test_line_torn_by_a_crash_is_passed_over(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.metrics({"a": 1.0}, 1)
    with open(outbox.path, "a", encoding="utf-8") as stream:
        stream.write('{"metrics": {"a"')
    assert len(list(outbox.lines())) == 1
    outbox.metrics({"a": 2.0}, 2)
    assert [event["step"] for event, _ in outbox.lines()] == [1, 2]
