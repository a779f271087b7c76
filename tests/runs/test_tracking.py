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
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser

import custom.runs.tracking as module
from custom.core.digests import read_checked_json
from custom.runs.outbox import Outbox
from custom.runs.sync import default_uri, sync_outbox
from custom.runs.tracking import Tracking, _BackgroundSync, run_name

pytestmark = [
    pytest.mark.fault(55),
]

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
    (tmp_path / "figures").mkdir()
    artifacts = [tmp_path / name for name in ("model.txt", "absent", "figures")]
    events = _run(tmp_path, artifacts=artifacts, tags={"method": "ae"})
    assert all(event.pop("time") > 1.7e12 for event in events)
    tags = events[0]["run"]["tags"]
    assert (events[0]["run"]["name"], tags["method"]) == (tmp_path.name, "ae")
    assert tags["mlflow.source.name"]
    assert events[1:] == [
        {"params": {"lr": "0.1", "channels": "[1, 2]"}},
        *({"metrics": {"train/loss": float(step - 1)}, "step": step} for step in (2, 4, 6)),
        {"metrics": {"validation/l1": 0.25}, "step": 1},
        {"artifact": str(tmp_path / "model.txt"), "to": ""},
        {"artifact": str(tmp_path / "figures"), "to": "figures"},
        {"status": "FINISHED"},
    ]


def test_a_run_is_called_after_what_tells_it_from_others(tmp_path):
    def name(folder, applied=None):
        known = {"method": "ddpm", "dataset": "demo", "contrast": "t2", "fold": 1, "folder": tmp_path / folder}
        return run_name(SimpleNamespace(**known), applied)

    assert name("demo_t2_fold1") == "ddpm demo_t2_fold1"
    assert name("low_rate") == "ddpm demo_t2_fold1 low_rate"
    assert name("low_rate", tmp_path / "low_rate/evaluation_250") == "ddpm demo_t2_fold1 low_rate, evaluation_250"


@pytest.mark.parametrize("off", [None, "none", "None", ""])
def test_none_switches_sending_off(tmp_path, off):
    assert _run(tmp_path, tracking_uri=off)[-1]["status"] == "FINISHED"
    assert [path.name for path in tmp_path.iterdir()] == ["tracking.jsonl"]


def test_the_learning_rate_is_tracked_beside_the_loss(tmp_path):
    engine = Engine(lambda *_: {"loss": torch.tensor(1.0)})
    engine.optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    Tracking(tmp_path, None, "exp", {}, every=1).attach(engine)
    engine.run(range(1))
    metrics = [event["metrics"] for event, _ in Outbox(tmp_path).lines() if "metrics" in event]
    assert metrics == [{"train/loss": 1.0, "train/learning_rate": 0.5}]


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
    assert f"uad sync {tmp_path}" in warnings[0]


def test_server_that_hangs_is_given_up_after_the_patience(tmp_path, monkeypatch, caplog):
    release, asked = threading.Event(), []
    joined = []

    def hang(folder, uri, stop):
        release.wait(60)
        asked.append(stop())

    monkeypatch.setattr(module, "sync_outbox", hang)
    sync = _BackgroundSync(tmp_path, "http://127.0.0.1:9", patience_s=0.05)
    monkeypatch.setattr(sync._thread, "join", lambda limit, join=sync._thread.join: (joined.append(limit), join(limit)))
    sync.start()
    with caplog.at_level(logging.WARNING, "custom"):
        sync.finish()
    release.set()
    threading.Thread.join(sync._thread, 60)
    assert joined == [0.05]
    assert asked[0] is True  # the late thread is told to stop before its next line
    assert "takes too long" in caplog.text
    assert _BackgroundSync(tmp_path, "x").patience_s <= 5


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
    state = read_checked_json(tmp_path / "tracking_state.json", "")
    assert [known["offset"] for known in state.values()] == [0]


SYNC = "import sys; from custom.runs.sync import sync_outbox; print(sync_outbox(sys.argv[1], sys.argv[2]))"


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
    script = f"from custom.runs.outbox import Outbox; Outbox({str(folder)!r}).start('d', 'exp', {{}})"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)  # its process is gone without a word
    sync_outbox(folder, database)
    assert _runs(database)[1]["d"].info.status == "RUNNING"
    assert Outbox(folder).mark_dead()
    assert not Outbox(folder).mark_dead()
    sync_outbox(folder, database)
    assert _runs(database)[1]["d"].info.status == "FAILED"
    _run(folder)
    sync_outbox(folder, database)
    _, runs = _runs(database)
    assert sorted(runs) == ["a", "b", "d"]
    assert runs["d"].info.status == "FINISHED"


@pytest.fixture
def killed(database, tmp_path):
    """Folder of a run that was sent and whose process was then killed with ``kill -9``."""
    folder = tmp_path / "killed"
    script = (
        "import os, signal; from custom.runs.outbox import Outbox; from custom.runs.sync import sync_outbox\n"
        f"Outbox({str(folder)!r}).start('killed', 'exp', {{}}); sync_outbox({str(folder)!r}, {database!r})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == -9
    assert _runs(database)[1]["killed"].info.status == "RUNNING"
    return folder


@pytest.mark.fault(
    56,
    "crashed run on the tracking server",
    "marked failed at the next start, never continued by another experiment",
    "foreseen",
)
def test_next_start_of_any_run_marks_the_killed_one(killed, database, tmp_path):
    Outbox(tmp_path / "alive").start("alive", "exp", {})
    sync_outbox(tmp_path / "alive", database)
    _run(tmp_path / "next")
    sync_outbox(tmp_path / "next", database)
    _, runs = _runs(database)
    assert {name: runs[name].info.status for name in ("killed", "alive", "next")} == {
        "killed": "FAILED", "alive": "RUNNING", "next": "FINISHED"
    }  # fmt: skip
    assert not runs["killed"].data.metrics  # and nothing of the next one went into it


def test_next_start_in_its_folder_says_so_first_and_goes_on(killed, database):
    statuses = [event["status"] for event in _run(killed) if "status" in event]
    assert statuses == ["FAILED", "FINISHED"]
    sync_outbox(killed, database)
    run = _runs(database)[1]["killed"]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["train/loss"] == 5.0


@pytest.mark.fault(56)
def test_another_experiment_in_its_folder_is_another_run(killed, database):
    Outbox(killed).start("other", "another experiment", {})
    Outbox(killed).metrics({"x": 1.0}, 1)
    sync_outbox(killed, database)
    client, runs = _runs(database)
    assert runs["killed"].info.status == "FAILED"
    assert not runs["killed"].data.metrics
    (other,) = client.search_runs([client.get_experiment_by_name("another experiment").experiment_id])
    assert (other.info.run_name, other.data.metrics) == ("other", {"x": 1.0})


def test_process_of_another_machine_is_taken_for_dead_by_its_successor_only(tmp_path, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        Outbox(tmp_path).start("run", "exp", {})
    assert not Outbox(tmp_path).mark_dead()
    Outbox(tmp_path).start("run", "exp", {})
    assert [event["status"] for event, _ in Outbox(tmp_path).lines() if "status" in event] == ["FAILED"]


def test_server_of_the_environment_is_the_default(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_uri() == "sqlite:///output/mlflow.db"
    assert default_uri("sqlite:///other.db") == "sqlite:///other.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert default_uri() == default_uri("sqlite:///other.db") == "http://127.0.0.1:5000"


TRACKED = [path for path in sorted(ROOT.glob("bundles/*/configs/*.json")) if '"tracking_uri"' in path.read_text()]


@pytest.mark.parametrize("config", TRACKED, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_every_configuration_takes_the_server_of_the_environment(config, monkeypatch):
    parser = ConfigParser(json.loads(config.read_text(encoding="utf-8")))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert parser.get_parsed_content("tracking_uri") == "http://127.0.0.1:5000"
    parser["tracking_uri"] = "sqlite:///mine.db"
    parser.parse(reset=True)
    assert parser.get_parsed_content("tracking_uri") == "sqlite:///mine.db"


def test_live_run_is_not_marked(tmp_path):
    Outbox(tmp_path).start("live", "exp", {})
    assert not Outbox(tmp_path).mark_dead()


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
