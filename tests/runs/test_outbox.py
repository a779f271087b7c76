# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys

import pytest

from custom.core.digests import read_checked_json
from custom.core.errors import ResourceError
from custom.runs.outbox import Outbox
from custom.runs.sync import sync_outbox


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def _client(uri):
    from mlflow.tracking import MlflowClient

    return MlflowClient(uri)


def _run(uri, folder):
    state = read_checked_json(folder / "tracking_state.json", "")
    return _client(uri).get_run(state[uri]["run_id"])


def test_everything_arrives_once_in_however_many_sendings(database, tmp_path):
    outbox = Outbox(tmp_path)
    (tmp_path / "report.md").write_text("table")
    outbox.start("run", "experiment", {"stage": "training"})
    outbox.params({"lr": 0.1})
    for step in range(5):
        outbox.metrics({"loss": 1.0 / (step + 1)}, step)
    sync_outbox(tmp_path, database)
    for step in range(5, 8):
        outbox.metrics({"loss": 1.0 / (step + 1)}, step)
    outbox.artifact(tmp_path / "report.md")
    outbox.status("FINISHED")
    sync_outbox(tmp_path, database)
    assert sync_outbox(tmp_path, database) == 0
    run = _run(database, tmp_path)
    history = _client(database).get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(step, pytest.approx(1.0 / (step + 1))) for step in range(8)]
    assert run.data.params == {"lr": "0.1"}
    assert run.info.status == "FINISHED"
    assert [f.path for f in _client(database).list_artifacts(run.info.run_id)] == ["report.md"]


def test_resumed_run_stays_one_run_and_two_folders_are_two(database, tmp_path):
    for _ in range(2):
        Outbox(tmp_path / "a").start("a", "experiment", {})
        sync_outbox(tmp_path / "a", database)
    Outbox(tmp_path / "b").start("a", "experiment", {}, parent=tmp_path / "a")
    sync_outbox(tmp_path / "b", database)
    a, b = (_run(database, tmp_path / name) for name in "ab")
    assert a.info.run_id != b.info.run_id
    assert b.data.tags["mlflow.parentRunId"] == a.info.run_id
    assert a.info.status == "RUNNING"


def test_dead_server_costs_nothing_but_the_message(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    outbox = Outbox(tmp_path)
    outbox.start("run", "experiment", {})
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        sync_outbox(tmp_path, "http://127.0.0.1:9")
    assert len(list(outbox.lines())) == 1


def test_torn_line_is_passed_over(database, tmp_path):
    outbox = Outbox(tmp_path)
    outbox.start("run", "experiment", {})
    with open(outbox.path, "ab") as stream:
        stream.write(b'{"metrics": {"loss": 0.')
    assert len(list(outbox.lines())) == 1
    outbox.metrics({"loss": 0.5}, 1)
    assert [next(iter(event)) for event, _ in outbox.lines()] == ["run", "metrics"]
    sync_outbox(tmp_path, database)
    assert _run(database, tmp_path).data.metrics == {"loss": 0.5}


def test_run_of_a_dead_process_is_marked_failed(database, tmp_path, repository):
    code = f"import sys; sys.path.insert(0, {str(repository)!r}); from custom.runs.outbox import Outbox\n" \
           f"Outbox({str(tmp_path)!r}).start('run', 'experiment', {{}})"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True)
    assert Outbox(tmp_path).mark_dead()
    assert not Outbox(tmp_path).mark_dead()
    sync_outbox(tmp_path, database)
    assert _run(database, tmp_path).info.status == "FAILED"
    Outbox(tmp_path / "alive").start("run", "experiment", {})
    assert not Outbox(tmp_path / "alive").mark_dead(), f"process {os.getpid()} is alive"


@pytest.mark.fault(
    93,
    "the tracking record was cut or a line damaged",
    "damaged lines are left out and mentioned; a file shorter than what was sent is refused",
    "unrecorded",
)
def test_a_damaged_line_is_left_out_and_mentioned_and_the_others_arrive(database, tmp_path, caplog):
    outbox = Outbox(tmp_path)
    outbox.start("run", "experiment", {})
    for step in range(3):
        outbox.metrics({"loss": 0.25 + step}, step)
    outbox.path.write_bytes(outbox.path.read_bytes().replace(b"1.25", b"1.75"))
    sync_outbox(tmp_path, database)
    history = _client(database).get_metric_history(_run(database, tmp_path).info.run_id, "loss")
    assert [m.value for m in history] == [0.25, 2.25]
    assert "is damaged and left out" in caplog.text


@pytest.mark.fault(93)
def test_a_cut_outbox_and_a_damaged_state_are_sentences(database, tmp_path):
    outbox = Outbox(tmp_path)
    outbox.start("run", "experiment", {})
    sync_outbox(tmp_path, database)
    whole = outbox.path.read_bytes()
    outbox.path.write_bytes(whole[:20])
    with pytest.raises(ResourceError, match="shorter than what was sent"):
        sync_outbox(tmp_path, database)
    outbox.path.write_bytes(whole)
    state = tmp_path / "tracking_state.json"
    state.write_text(state.read_text().replace('"offset": ', '"offset": 1'))
    with pytest.raises(ValueError, match=r"its digest differs.*remove it"):
        sync_outbox(tmp_path, database)


@pytest.mark.fault(
    86,
    "a password or token in the tracking address",
    "cut from files, logs and messages, also those of libraries",
    "mended",
)
def test_passwords_and_tokens_reach_no_file_and_no_message(tmp_path, caplog):
    secret = "s3cretPW"
    address = f"http://alice:{secret}@127.0.0.1:9/mlflow?token={secret}"
    outbox = Outbox(tmp_path)
    outbox.start("run", "experiment", {})
    outbox.params({"tracking_uri": address})
    with pytest.raises(ResourceError, match=r"http://\*\*\*@127.0.0.1:9/mlflow\?token=\*\*\*") as caught:
        sync_outbox(tmp_path, address)
    assert caught.value.__cause__ is None
    assert secret not in str(caught.value) + caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert not [path for path in files if secret.encode() in path.read_bytes()]
