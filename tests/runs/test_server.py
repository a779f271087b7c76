# SPDX-License-Identifier: Apache-2.0
"""A real MLflow server that hangs, is killed and is started again in the middle of a run."""

import contextlib
import functools
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import torch
from ignite.engine import Engine, Events

import custom.runs.tracking as module
from custom.runs.outbox import Outbox
from custom.runs.tracking import Tracking, _BackgroundSync

pytestmark = [
    pytest.mark.fault(
        55,
        "tracking server down, slow, refusing, disk full",
        "at most 5 s and one warning, kept locally, sent later",
        "foreseen",
    ),
]

START_S, STEPS = 180, 12


class Server:
    """``mlflow server`` on a port of its own; the database outlives it."""

    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder, self.uri, self.process = folder, f"http://127.0.0.1:{self.port}", None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
                   "--backend-store-uri", f"sqlite:///{self.folder}/m.db", "--artifacts-destination", str(self.folder / "a")]  # fmt: skip
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until(self.answers)

    def answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=5).status == 200
        except (urllib.error.URLError, OSError):
            return False

    def signal(self, number):
        os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait()


def until(ready):
    from mlflow.exceptions import MlflowException

    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(MlflowException):  # the server of a busy machine did not answer in time
            if ready():
                return
        time.sleep(0.2)
    raise AssertionError("it did not happen")


@pytest.fixture
def server(tmp_path):
    pytest.importorskip("mlflow.server")
    (tmp_path / "server").mkdir()
    started = Server(tmp_path / "server")
    started.start()
    yield started
    if started.process.poll() is None:
        started.signal(signal.SIGKILL)


def _runs(uri, name):
    from mlflow.tracking import MlflowClient

    return MlflowClient(uri).search_runs(["1"], f"tags.mlflow.runName = '{name}'")


def _steps(uri, name):
    """The run of this name on the server and the steps of its loss."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    (run,) = _runs(uri, name)
    return run, [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")]


def _run(folder, uri, at_step):
    engine = Engine(lambda _, number: {"loss": torch.tensor(float(number))})
    Tracking(folder, uri, "exp", {"lr": 0.1}, every=1).attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: at_step.get(e.state.iteration, lambda: None)())
    engine.run(range(STEPS))
    assert engine.state.iteration == STEPS


def _warnings(caplog, folder):
    return [record.message for record in caplog.records if str(folder) in record.message]


def test_server_that_hangs_dies_and_comes_back_has_everything_in_the_end(
    server, tmp_path, repository, monkeypatch, caplog
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(module, "_BackgroundSync", functools.partial(_BackgroundSync, period_s=0.2))
    long, short, blocked = tmp_path / "long", tmp_path / "short", []

    def hang_and_die():
        until(lambda: (tmp_path / "long" / "tracking_state.json").is_file() and _runs(server.uri, "long"))
        assert max(_steps(server.uri, "long")[1], default=0) <= 4
        server.signal(signal.SIGSTOP)  # connections are taken and never answered
        began = time.monotonic()
        with pytest.MonkeyPatch.context() as patch:  # only here: a busy machine's server may take as long to answer
            patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
            _run(short, server.uri, {})
        blocked.append(time.monotonic() - began)
        assert len(_warnings(caplog, short)) == 1
        server.signal(signal.SIGKILL)

    def wait_for_a_failure():
        until(lambda: _warnings(caplog, long))

    def come_back():
        server.start()
        until(lambda: _steps(server.uri, "long")[1] == list(range(1, 10)))

    with caplog.at_level(logging.WARNING, "custom"):
        _run(long, server.uri, {4: hang_and_die, 7: wait_for_a_failure, 9: come_back})
    assert len(_warnings(caplog, long)) == 1
    print(f"\na run of {STEPS} steps beside a hanging server took {blocked[0]:.1f} s")

    command = [
        sys.executable,
        str(repository / "scripts/track_sync.py"),
        str(long),
        str(short),
        "--tracking-uri",
        server.uri,
    ]
    assert subprocess.run(command, cwd=repository, check=False).returncode == 0
    for folder in (long, short):
        run, steps = _steps(server.uri, folder.name)
        assert steps == list(range(1, STEPS + 1))
        assert (run.info.status, run.data.params) == ("FINISHED", {"lr": "0.1"})
        assert [next(iter(event)) for event, _ in Outbox(folder).lines()][-1] == "status"
