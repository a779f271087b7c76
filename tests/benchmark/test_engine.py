# SPDX-License-Identifier: Apache-2.0
"""The same jobs in sequence, in processes and on real local Dask clusters; a killed worker's job is done again."""

import os
import signal
import threading
import time

import pytest

from custom.benchmark.engine import run_jobs
from custom.benchmark.jobs import Outcome
from custom.core.errors import ConfigError


@pytest.mark.parametrize("settings", [{"engine": "sequential"}, {"engine": "processes", "workers": 2}])
def test_every_job_once_and_a_failure_stops_no_other(fake, settings):
    jobs = [fake("a"), fake("b", fail="training"), fake("c")]
    outcomes = {outcome.name: outcome for outcome in run_jobs(jobs, **settings)}
    assert sorted(outcomes) == ["a", "b", "c"]
    assert [outcomes[name].error is None for name in "abc"] == [True, False, True]
    assert fake.ends() == [(n, r) for n in "ac" for r in ("evaluating", "training")]


def test_processes_run_side_by_side(fake, tmp_path):
    """Neither job can end before both have begun."""
    gate = tmp_path / "gate"
    jobs = [fake("a", gate=gate), fake("b", gate=gate)]

    def open_gate():
        while len(fake.starts()) < 2:
            time.sleep(0.02)
        gate.touch()

    thread = threading.Thread(target=open_gate, daemon=True)
    thread.start()
    assert {outcome.error for outcome in run_jobs(jobs, "processes", workers=2)} == {None}


def test_a_killed_dask_worker_loses_nothing(fake, tmp_path):
    """SIGKILL the worker process that holds the job; the scheduler gives it to another, the finished ones stay done."""
    distributed = pytest.importorskip("distributed")
    gate = tmp_path / "gate"
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0
    ) as cluster:
        first = list(run_jobs([fake("early")], scheduler=cluster.scheduler_address))
        assert first == [Outcome("early", fake("early").folder, ("training", "evaluation"))]
        victim = next(iter(cluster.workers.values())).pid
        killed = []

        def kill():
            while ("held", "training") not in fake.starts():
                time.sleep(0.02)
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
            while fake.starts().count(("held", "training")) < 2:
                time.sleep(0.02)
            gate.touch()

        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        outcomes = list(run_jobs([fake("early"), fake("held", gate=gate)], scheduler=cluster.scheduler_address))
    assert killed
    assert {(o.name, o.error) for o in outcomes} == {("early", None), ("held", None)}
    assert fake.starts().count(("held", "training")) == 2
    assert fake.ends().count(("held", "training")) == 1
    assert fake.ends().count(("early", "training")) == 1


def test_no_job_waits_behind_a_long_one_while_a_dask_worker_is_free(fake, tmp_path):
    """One job lasts until all others have ended, and the worker beside it is busy when the long one begins."""
    pytest.importorskip("distributed")
    gates, others = {name: tmp_path / name for name in ("second", "long")}, list("abcdef")
    stop = time.monotonic() + 60

    def open_when(gate, ended, pause_s=0.0):
        while not {(name, "evaluating") for name in ended} <= set(fake.ends()) and time.monotonic() < stop:
            time.sleep(0.02)
        time.sleep(pause_s)
        gates[gate].touch()

    for arguments in (("second", ["first"], 1.0), ("long", ["second", *others])):
        threading.Thread(target=open_when, args=arguments, daemon=True).start()
    jobs = [fake("first"), fake("second", gate=gates["second"]), fake("long", gate=gates["long"]), *map(fake, others)]
    assert [outcome.name for outcome in run_jobs(jobs, "dask", workers=2)][-1] == "long"


def test_dask_holds_no_more_jobs_than_workers(fake, monkeypatch):
    """Given more, its work stealing may pile them up behind one worker, and another one idles for hours."""
    distributed = pytest.importorskip("distributed")
    submit, futures, held = distributed.Client.submit, [], []

    def counted(client, *args, **kwargs):
        held.append(sum(not future.done() for future in futures))
        futures.append(submit(client, *args, **kwargs))
        return futures[-1]

    monkeypatch.setattr(distributed.Client, "submit", counted)
    assert {outcome.error for outcome in run_jobs(list(map(fake, "abcde")), "dask", workers=2)} == {None}
    assert len(held) == 5
    assert max(held) < 2


def test_a_silent_scheduler_is_named(monkeypatch):
    distributed = pytest.importorskip("distributed")

    def refused(*args, **kwargs):
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", refused)
    with pytest.raises(ConfigError, match="no Dask scheduler answers at tcp://"):
        list(run_jobs([], scheduler="tcp://127.0.0.1:1"))


def test_workers_with_threads_are_refused(fake):
    """Two trainings in one worker process would fight for its device."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0", memory_limit=0
        ) as cluster,
        pytest.raises(ConfigError, match="--nthreads 1"),
    ):
        list(run_jobs([fake("a")], scheduler=cluster.scheduler_address))
