# SPDX-License-Identifier: Apache-2.0
"""The process of one job, which ends with its parent: ``python -m custom.benchmark.runner``, see :func:`custom.benchmark.jobs.execute`.

It reads the job from standard input and works as long as that pipe stays open. When the other end vanishes, in whatever
way, the running command is killed with all its children, so that no orphan trains beside its own repetition. The folder's
lock is inherited by the command: it is free again only when every process of the job is gone.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.digests import write_checked_json
from ..core.errors import ConfigError, UADError
from ..core.foreseen import find_foreseen
from ..runs.outbox import Outbox
from .jobs import DONE, PRETRAINING, STARTED, Job, Outcome, Stage, pending_stages, reason_in, recorded

LOCK, PREVIOUS = ".job.lock", "previous"
PATIENCE_S = 120.0
_child: "subprocess.Popen[bytes] | None" = None
_stopping = threading.Event()


def main() -> int:
    """Carry out the job on standard input; the last line of the output is the outcome."""
    job = Job.from_json(sys.stdin.readline())
    signal.signal(signal.SIGTERM, lambda *_: stop())
    threading.Thread(target=_watch, daemon=True).start()
    ran: list[str] = []
    error = None
    try:
        with folder_lock(Path(job.folder), PATIENCE_S) as lock:
            run(job, lock, ran)
    except (UADError, OSError) as problem:
        error = str(find_foreseen(problem) or problem)
    print(json.dumps(asdict(Outcome(job.name, job.folder, tuple(ran), error))), flush=True)
    return 0 if error is None else 1


def run(job: Job, lock: int, ran: list[str]) -> None:
    """Run what is pending; names of finished stages are added to ``ran``.

    Raises:
        ConfigError: a command failed, or the folder holds something that no job made.
    """
    folder = Path(job.folder)
    pending, _ = pending_stages(job)
    if not pending:
        return
    done: dict[str, Any] = recorded(folder / DONE).get("stages", {})
    kept = [stage.name for stage in job.stages if stage not in pending]
    done = {name: done[name] for name in kept}
    if any(stage.clears is None for stage in pending):
        _make_room(job, folder)
    write_checked_json(folder / DONE, {"job": job.name, "stages": done})
    outbox = Outbox(folder)
    outbox.start(job.name, str(job.labels.get("experiment", "matrix")), {"stage": "job"}, job.parent_folder)
    outbox.params({key: value for key, value in job.labels.items() if key not in ("experiment", "rows")})
    for stage in pending:
        if stage.clears:
            shutil.rmtree(folder / stage.clears, ignore_errors=True)
        start, cpu = time.time(), _cpu_seconds()
        code = _command(job, stage, folder / f"{stage.name}.log", lock)
        if code or not (folder / stage.product).is_file():
            outbox.status("FAILED")
            reason = (
                f"exit code {code}: {reason_in(folder / f'{stage.name}.log')}"
                if code
                else f"it left no {stage.product}"
            )
            raise ConfigError(f"{stage.name} failed ({reason}); see {folder / f'{stage.name}.log'}")
        done[stage.name] = {
            "digests": dict(stage.digests), "seconds": round(time.time() - start, 1),
            "cpu_seconds": round(_cpu_seconds() - cpu, 2), "host": socket.gethostname(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }  # fmt: skip
        write_checked_json(folder / DONE, {"job": job.name, "stages": done})
        if stage.clears:  # rows of a table are known by this name to whoever reads the tracked runs
            Outbox(folder / stage.clears).params({"row": job.labels.get("rows", {}).get(stage.clears, "")})
        ran.append(stage.name)
    outbox.status("FINISHED")


def _make_room(job: Job, folder: Path) -> None:
    """Keep the folder of the same, interrupted training; set that of another one aside; refuse a foreign one.

    What was trained from other digests goes to ``previous`` (one generation), without evaluations and reconstructions. The
    encoder of an unchanged pre-training stays.
    """
    started = recorded(folder / STARTED)
    inside = [path for path in folder.iterdir() if path.name not in (LOCK, STARTED, PREVIOUS, DONE)]
    if inside and not started:
        raise ConfigError(
            f"{folder} holds files that no job made ({inside[0].name}); move them or choose another output_dir."
        )
    known = started.get("digests", {})
    digests = {
        stage.name: {f"{stage.name} {key}": digest for key, digest in stage.digests.items()}
        for stage in job.stages
        if stage.clears is None
    }
    changed = [
        name
        for name, own in digests.items()
        if any(known.get(key) != digest for key, digest in own.items() if not (job.any_code and key.endswith("code")))
    ]
    if changed:
        stays = () if PRETRAINING in changed else (PRETRAINING, f"{PRETRAINING}.log")
        shutil.rmtree(folder / PREVIOUS, ignore_errors=True)
        for path in inside:
            if path.name in stays:
                continue
            if path.name.startswith(("evaluation", "reconstructions")):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            else:
                (folder / PREVIOUS).mkdir(exist_ok=True)
                path.rename(folder / PREVIOUS / path.name)
    merged = {key: digest for own in digests.values() for key, digest in own.items()}
    write_checked_json(folder / STARTED, {"job": job.name, "labels": dict(job.labels), "digests": merged})


def _command(job: Job, stage: Stage, log: Path, lock: int) -> int:
    global _child
    command = [sys.executable, *job.command, *stage.arguments]
    environment = {**os.environ, **job.environment}
    with open(log, "ab") as stream:
        stream.write(f"\n$ {' '.join(command)}\n".encode("utf-8", "backslashreplace"))
        stream.flush()
        if _stopping.is_set():
            raise ConfigError("the job was stopped")
        _child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, cwd=job.working_dir,
            env=environment, start_new_session=True, pass_fds=(lock,),
        )  # fmt: skip
        return _child.wait()


def _cpu_seconds() -> float:
    """Return the processor time of the commands that have ended, theirs included."""
    used = os.times()
    return used.children_user + used.children_system


def stop() -> None:
    """Kill the running command with its children and leave."""
    _stopping.set()
    if _child is not None and _child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(_child.pid, signal.SIGKILL)
    os._exit(143)


def _watch() -> None:
    while sys.stdin.readline():
        pass
    stop()


@contextmanager
def folder_lock(folder: Path, patience_s: float) -> Iterator[int]:
    """Hold the folder's lock, made if missing, and yield its file descriptor; wait for another holder to go.

    Raises:
        ConfigError: another process still works there after ``patience_s`` seconds.
    """
    import fcntl  # the lock passes to the commands of the job, which only Linux and macOS can do

    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        end = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > end:
                    raise ConfigError(f"another process works in {folder}; wait for it or end it.") from None
                time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
