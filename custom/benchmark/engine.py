# SPDX-License-Identifier: Apache-2.0
"""Hand jobs to this process, to processes of this machine, or to Dask: a local cluster, a running scheduler, SLURM.

All of them call :func:`custom.benchmark.jobs.execute` with the same jobs. Dask gives the job of a lost worker to another
one; since a job skips the stages that are finished, only the stage in flight is done again. Workers of other machines
need this repository under the same path, the same data and output folders (a shared file system), and one thread each.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

from ..core.errors import ConfigError
from .jobs import Job, Outcome, execute, stop_all

Engine = Literal["auto", "sequential", "processes", "dask", "slurm"]
Run = Callable[[Job], Outcome]
_POLL_S = 5.0
_LOST_WORKERS = 3  # a job that has lost more is given up


def run_jobs(
    jobs: Sequence[Job],
    engine: Engine = "auto",
    workers: int = 1,
    scheduler: str | None = None,
    slurm: Mapping[str, Any] | None = None,
    run: Run = execute,
) -> Iterator[Outcome]:
    """Run jobs and yield how each ended, as it ends.

    Args:
        jobs: independent of each other.
        engine: "auto" is Dask if a scheduler is named or ``workers`` > 1 (processes if Dask is missing), else sequential.
        workers: jobs at a time; Dask or SLURM workers to start. Unused with ``scheduler``.
        scheduler: address of a running Dask scheduler, ``tcp://host:8786``.
        slurm: arguments of ``dask_jobqueue.SLURMCluster``.
        run: carries out one job.

    Raises:
        ConfigError: Dask is asked for and missing, or the scheduler does not answer.
    """
    if engine == "auto":
        engine = "slurm" if slurm else "dask" if scheduler or (workers > 1 and _has("distributed")) else "processes"
        engine = "sequential" if engine == "processes" and workers == 1 else engine
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}.")
    if engine in ("processes", "dask") and scheduler is None and workers > 1:
        jobs = [_shared_cores(job, workers) for job in jobs]
    if engine == "sequential":
        yield from map(run, jobs)
    elif engine == "processes":
        yield from _in_processes(jobs, workers, run)
    else:
        with _client(engine, workers, scheduler, slurm) as client:
            yield from _with_dask(client, jobs, run)


def _in_processes(jobs: Sequence[Job], workers: int, run: Run) -> Iterator[Outcome]:
    with ThreadPoolExecutor(workers) as pool:  # a thread only waits for its job's process
        futures = [pool.submit(run, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_all()
            raise


def _with_dask(client: Any, jobs: Sequence[Job], run: Run) -> Iterator[Outcome]:
    """Hand out a job per free worker: Dask, given all at once, takes hours for half a second and piles them up."""
    from distributed import wait

    waiting, running = list(jobs), dict[Any, Job]()
    while waiting or running:
        free = sum(client.nthreads().values()) - len(running)
        for job in waiting[: free if running else max(free, 1)]:
            waiting.remove(job)
            running[client.submit(run, job, key=f"{job.name}-{os.getpid()}", pure=False)] = job
        try:
            done = wait(list(running), timeout=_POLL_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            continue  # workers may have come
        for future in done:
            job, error = running.pop(future), future.exception()
            reason = "its workers died" if type(error).__name__ == "KilledWorker" else str(error)
            again = "start the matrix again to go on"
            yield future.result() if error is None else Outcome(job.name, job.folder, error=f"{reason}; {again}")


@contextmanager
def _client(engine: str, workers: int, scheduler: str | None, slurm: Mapping[str, Any] | None) -> Iterator[Any]:
    if not _has("distributed"):
        raise ConfigError('Dask is not installed; pip install -e ".[cluster]", or use --engine processes.')
    import dask
    from distributed import Client, LocalCluster

    cluster = None
    with dask.config.set({"distributed.scheduler.allowed-failures": _LOST_WORKERS}):
        if engine == "slurm":
            if not _has("dask_jobqueue"):
                raise ConfigError('dask-jobqueue is not installed; pip install -e ".[cluster]".')
            defaults = {"cores": 1, "processes": 1, "memory": "16GB", "python": sys.executable}
            cluster = importlib.import_module("dask_jobqueue").SLURMCluster(**(defaults | dict(slurm or {})))
            cluster.scale(jobs=workers)
        elif scheduler is None:
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", memory_limit=0
            )
        try:
            client = Client(cluster if cluster is not None else scheduler, timeout=30)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"no Dask scheduler answers at {scheduler} ({type(error).__name__}); start one with "
                "`dask scheduler` and workers with `dask worker ADDRESS --nthreads 1`, or leave --scheduler out."
            ) from error
        try:
            if scheduler is not None:
                _check_workers(client)
            yield client
        finally:
            client.close()
            if cluster is not None:
                cluster.close()


def _check_workers(client: Any) -> None:
    wide = [w["name"] for w in client.scheduler_info(n_workers=-1)["workers"].values() if w["nthreads"] > 1]
    if wide:
        raise ConfigError(
            f"Dask worker {wide[0]} has several threads and would run as many trainings at once; start workers with "
            "--nthreads 1."
        )


def _shared_cores(job: Job, workers: int) -> Job:
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    return replace(job, environment={"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads), **job.environment})


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
