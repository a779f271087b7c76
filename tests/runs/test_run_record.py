# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import subprocess
from datetime import datetime

import pytest
import torch
from ignite.engine import Engine, Events

from custom.core.digests import content_sha256
from custom.core.errors import ConfigError
from custom.runs.record import RunRecord

SETTINGS = {"method": "ae", "lr": 1e-4, "channels": [8, 16], "seed": 3}


def _engine(folder, **kwargs):
    engine = Engine(lambda *_: None)
    RunRecord(folder, SETTINGS, seeds={"run": 3}, **kwargs).attach(engine)
    return engine


def test_finished_run(tmp_path, repository):
    _engine(tmp_path / "new").run(range(2))
    record = RunRecord.read(tmp_path / "new")
    assert record["status"] == "finished"
    assert record["settings"] == SETTINGS
    assert record["seeds"] == {"run": 3}
    assert (
        record["versions"]["torch"] == torch.__version__.split("+")[0]
        or record["versions"]["torch"] == torch.__version__
    )
    assert datetime.fromisoformat(record["started"]) <= datetime.fromisoformat(record["ended"])
    assert datetime.fromisoformat(record["started"]).utcoffset().total_seconds() == 0
    # the digest by hand: compact enough to recompute anywhere
    text = '{"channels": [8, 16], "lr": 0.0001, "method": "ae", "seed": 3}'
    assert record["settings_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    head = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    assert (record["revision"] or "").rstrip("+") == (head.stdout.strip() if (repository / ".git").exists() else "")


def test_record_says_running_meanwhile_and_names_no_machine(tmp_path):
    import socket

    seen = []
    engine = _engine(tmp_path)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda _: seen.append(RunRecord.read(tmp_path)))
    engine.run(range(2))
    assert seen[0]["status"] == "running"
    assert seen[0]["ended"] is None
    assert socket.gethostname() not in json.dumps({k: v for k, v in seen[0].items() if k != "command"}).split('"')


@pytest.mark.parametrize(("exit_code", "status"), [(2, "failed"), (143, "stopped")])
def test_failed_and_stopped_runs(tmp_path, exit_code, status):
    error = ConfigError("no good")
    error.exit_code = exit_code

    def fail(_):
        raise error

    engine = _engine(tmp_path)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), fail)
    with pytest.raises(ConfigError):
        engine.run(range(2))
    record = RunRecord.read(tmp_path)
    assert (record["status"], record["reason"]) == (status, "ConfigError: no good")


def test_resumed_run_keeps_its_beginning(tmp_path):
    RunRecord(tmp_path, SETTINGS).begin()  # and is killed
    first = RunRecord.read(tmp_path)
    _engine(tmp_path).run(range(1))
    record = RunRecord.read(tmp_path)
    assert record["started"] == first["started"]
    assert len(record["resumed"]) == 1
    assert record["status"] == "finished"


def test_only_the_writing_process_writes(tmp_path):
    _engine(tmp_path, write=False).run(range(1))
    assert list(tmp_path.iterdir()) == []
    assert RunRecord.read(tmp_path) is None


def test_digest_changes_with_any_setting():
    assert len({content_sha256({**SETTINGS, key: 0}) for key in SETTINGS} | {content_sha256(SETTINGS)}) == 5
