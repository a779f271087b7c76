# SPDX-License-Identifier: Apache-2.0
"""One job: a model of one method, contrast and fold, trained and evaluated by the bundle's own commands.

Its folder holds ``job.json`` (what is being made, written before the work), ``done.json`` (stages that are finished,
each with the digests of what it was made from, replaced atomically after every stage), a log per stage, and what the
commands write. A stage is skipped if ``done.json`` has it with the same digests and its product is there; from the first
stage that is not on, all are done again. Training that was interrupted under unchanged digests resumes from its checkpoint.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.digests import DamagedFileError, read_checked_json

# a module that takes the arguments of `python -m monai.bundle run`, from any folder
COMMAND = ("-m", "custom.cli.stage")
DONE, STARTED = "done.json", "job.json"
_REMEDY = "remove it, and the job is done again."
_KEYS = {"done.json": frozenset({"job", "stages"}), "job.json": frozenset({"job", "labels", "digests"})}
PRETRAINING = "pretraining"  # stage of an encoder, and its folder below the job's
_live: set["subprocess.Popen[str]"] = set()
_live_lock = threading.Lock()


@dataclass(frozen=True)
class Stage:
    """One command of a job.

    Attributes:
        name: "pretraining", "training", "evaluation", ...; also the name of its log.
        arguments: of ``python -m monai.bundle run``.
        digests: of everything the stage depends on.
        product: file below the job's folder that a finished stage leaves.
        clears: folder below the job's folder that is emptied before the stage; None: nothing.

    >>> Stage("training", ("training", "--fold", "0"), {"configuration": "5d41"}, product="model.safetensors").clears is None
    True
    """

    name: str
    arguments: tuple[str, ...]
    digests: Mapping[str, str]
    product: str
    clears: str | None = None


@dataclass(frozen=True)
class Job:
    """Stages in their order.

    Attributes:
        name: for example "ddpm/t1_fold0".
        folder, working_dir: that the stages write to, and that their commands are started in.
        stages: in the order in which they run.
        labels: what ``job.json`` says about the job: matrix, method, contrast, fold, seed, ...
        command: stands between the Python interpreter and a stage's arguments.
        environment: further environment variables of the commands.
        any_code: True keeps finished stages that only the code has changed since.
        parent_folder: folder of the matrix that the job belongs to.

    >>> stage = Stage("training", ("training",), {"configuration": "5d41"}, product="model.safetensors")
    >>> job = Job("ddpm/t1_fold0", "runs/ddpm/t1_fold0", (stage,), working_dir=".")
    >>> Job.from_json(job.to_json()) == job
    True
    >>> pending_stages(job)[1]
    'training has not finished'
    """

    name: str
    folder: str
    stages: tuple[Stage, ...]
    working_dir: str
    labels: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = COMMAND
    environment: Mapping[str, str] = field(default_factory=dict)
    any_code: bool = False
    parent_folder: str | None = None

    def to_json(self) -> str:
        """Return the job as one line."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Job":
        """Return the job in a line."""
        values = json.loads(text)
        stages = tuple(Stage(**(stage | {"arguments": tuple(stage["arguments"])})) for stage in values["stages"])
        return Job(**(values | {"stages": stages, "command": tuple(values["command"])}))


@dataclass(frozen=True)
class Outcome:
    """How a job ended: stages that ran, and the reason if it failed.

    >>> Outcome("ddpm/t1_fold0", "runs/ddpm/t1_fold0", ran=("training",), error="the disk is full").error
    'the disk is full'
    """

    name: str
    folder: str
    ran: tuple[str, ...] = ()
    error: str | None = None


def pending_stages(job: Job) -> tuple[list[Stage], str]:
    """Return the stages that must run, and why, as half a sentence.

    Raises:
        ConfigError: ``done.json`` is damaged.
    """
    finished = recorded(Path(job.folder) / DONE).get("stages", {})
    for position, stage in enumerate(job.stages):
        known = finished.get(stage.name)
        if known is None:
            return list(job.stages[position:]), f"{stage.name} has not finished"
        different = sorted(
            key for key in {*stage.digests, *known["digests"]} if known["digests"].get(key) != stage.digests.get(key)
        )
        if job.any_code:
            different = [key for key in different if not key.endswith("code")]
        if different:
            return list(job.stages[position:]), f"{' and '.join(different)} of {stage.name} changed"
        if not (Path(job.folder) / stage.product).is_file():
            return list(job.stages[position:]), f"{stage.product} is gone"
    return [], "finished and unchanged"


def execute(job: Job) -> Outcome:
    """Carry a job out in a process of its own, which ends with this one; return how it ended.

    Interruptions of this process (Ctrl-C, a lost Dask worker, kill -9) end the job's processes too: they live only as
    long as the pipe to this process is open.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "custom.benchmark.runner"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=job.working_dir, env=_with_package(job), start_new_session=True,
    )  # fmt: skip
    with _live_lock:
        _live.add(process)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(job.to_json() + "\n")
        process.stdin.flush()
        answer = process.stdout.read()  # until the runner ends; stdin stays open meanwhile
        process.wait()
        try:
            values = json.loads(answer.splitlines()[-1])
        except (ValueError, IndexError):
            return Outcome(
                job.name, job.folder, error=f"its process ended without an answer (exit code {process.returncode})"
            )
        return Outcome(values["name"], values["folder"], tuple(values["ran"]), values["error"])
    finally:
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
        with _live_lock:
            _live.discard(process)


def stop_all() -> None:
    """End every job that this process started."""
    with _live_lock:
        for process in _live:
            process.terminate()


def _with_package(job: Job) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **job.environment}


def recorded(path: Path) -> dict[str, Any]:
    """Return the object in a file; an absent file is empty, a damaged one a ``DamagedFileError``."""
    if not path.is_file():
        return {}
    content = read_checked_json(path, _REMEDY, _KEYS[path.name])
    if set(content) != _KEYS[path.name]:
        raise DamagedFileError(f"{path} is another file in its place; {_REMEDY}")
    return content


def reason_in(log: Path) -> str:
    """Return why the last command of a log failed: our own sentence, else the first error of the chain, else its last line."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line.strip() for line in text.rpartition("\n$ ")[2].splitlines()[1:] if line.strip()]
    sentences = [line for line in lines if line.startswith("error: ")]
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (sentences[-1:] or raised[:1] or lines[-1:] or ["no output"])[0][:500]
