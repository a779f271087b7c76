# SPDX-License-Identifier: Apache-2.0
"""A job is done once, again if anything changed, and never twice at the same time, however it is interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from custom.benchmark.jobs import Job, execute, pending_stages
from custom.core.errors import ConfigError


def names(job):
    stages, why = pending_stages(job)
    return [stage.name for stage in stages], why


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "what was waited for never came"
        time.sleep(0.02)


def test_a_job_survives_the_pipe(fake):
    job = fake("a")
    assert Job.from_json(job.to_json()) == job


def test_done_once_then_skipped(fake):
    job = fake("a")
    outcome = execute(job)
    assert (outcome.error, outcome.ran) == (None, ("training", "evaluation"))
    assert names(job) == ([], "finished and unchanged")
    assert execute(job).ran == ()
    assert fake.ends() == [("a", "evaluating"), ("a", "training")]


def test_a_changed_digest_repeats_everything_and_sets_the_old_aside(fake):
    execute(fake("a"))
    old = Path(fake("a").folder) / "checkpoint_of_other_settings"
    old.touch()
    changed = fake("a", digest="2")
    assert names(changed) == (["training", "evaluation"], "configuration of training changed")
    assert execute(changed).ran == ("training", "evaluation")
    assert not old.exists()
    aside = Path(changed.folder) / "previous"
    assert (aside / old.name).exists()
    assert not (aside / "evaluation").exists()
    assert len(fake.ends()) == 4


def test_any_code_keeps_work_of_other_code_only(fake):
    execute(fake("a"))
    assert names(fake("a", code="2"))[0] == ["training", "evaluation"]
    assert names(fake("a", code="2", any_code=True))[0] == []
    assert names(fake("a", code="2", digest="2", any_code=True))[0] == ["training", "evaluation"]


def test_a_missing_product_is_made_again_from_its_stage_on(fake):
    job = fake("a")
    execute(job)
    (Path(job.folder) / "evaluation/metrics.json").unlink()
    assert names(job)[0] == ["evaluation"]
    assert execute(job).ran == ("evaluation",)
    assert fake.ends().count(("a", "training")) == 1


def test_a_failure_is_one_sentence_and_keeps_what_was_done(fake):
    outcome = execute(fake("a", fail="evaluating"))
    assert outcome.ran == ("training",)
    assert "evaluation failed (exit code 1: error: the scan is broken)" in outcome.error
    assert names(fake("a"))[0] == ["evaluation"]


def test_an_interrupted_training_keeps_its_checkpoints(fake, tmp_path):
    job = fake("a", fail="training")
    execute(job)
    checkpoint = Path(job.folder) / "checkpoint"
    checkpoint.touch()
    execute(fake("a"))
    assert checkpoint.exists()


def test_an_encoder_stays_when_only_the_training_changes(fake):
    job = fake("a", encoder="1")
    assert execute(job).ran == ("pretraining", "training", "evaluation")
    folder = Path(job.folder)
    (folder / "pretraining" / "mark").touch()
    (folder / "checkpoint").touch()
    assert execute(fake("a", encoder="1", digest="2")).ran == ("training", "evaluation")
    assert (folder / "pretraining" / "mark").exists()
    assert not (folder / "checkpoint").exists()
    assert (folder / "previous" / "checkpoint").exists()
    assert execute(fake("a", encoder="2", digest="2")).ran == ("pretraining", "training", "evaluation")
    assert not (folder / "pretraining" / "mark").exists()


def test_a_foreign_folder_is_left_alone(fake):
    job = fake("a")
    Path(job.folder).mkdir(parents=True)
    (Path(job.folder) / "thesis.txt").touch()
    assert "holds files that no job made (thesis.txt)" in execute(job).error
    assert (Path(job.folder) / "thesis.txt").exists()


def test_a_damaged_record_is_named(fake):
    job = fake("a")
    execute(job)
    (Path(job.folder) / "done.json").write_text("{")
    with pytest.raises(ConfigError, match=r"done\.json .*remove it, and the job is done again"):
        pending_stages(job)


def test_kill_9_ends_the_command_too_and_loses_only_the_stage_in_flight(fake, tmp_path, repository):
    gate = tmp_path / "gate"
    job = fake("a", gate=gate)
    code = "import sys; from custom.benchmark.jobs import Job, execute; execute(Job.from_json(sys.stdin.readline()))"
    environment = os.environ | {"PYTHONPATH": str(repository)}
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True, env=environment)
    process.stdin.write(job.to_json() + "\n")
    process.stdin.flush()
    wait_for(fake.journal)
    process.send_signal(signal.SIGKILL)
    process.wait()
    gate.touch()
    assert execute(job).error is None  # waits for the lock until the first command is dead
    assert fake.starts().count(("a", "training")) == 2
    assert fake.ends() == [("a", "evaluating"), ("a", "training")]  # an orphan would have ended too
    done = json.loads((Path(job.folder) / "done.json").read_text())
    assert list(done["stages"]) == ["training", "evaluation"]
