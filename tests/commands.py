# SPDX-License-Identifier: Apache-2.0
"""Command lines in processes of their own, as a user starts them, without a second or ten of imports for each.

A server process imports torch and MONAI once and forks for every command. Commands whose imports are what is tested, or whose
``custom`` is another one (a release), are started by ``subprocess`` instead.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_LIMIT_S = 1000  # a busy machine is no fault of the code
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("monai.bundle", "monai.engines", "monai.handlers", "monai.inferers", "nibabel", "scipy.ndimage"),
        *("custom.training.handlers", "custom.evaluation", "custom.prediction.predictor"),
    ]
)


def start(words: Sequence[str], cwd: Path, out: Path, err: Path, environment: dict[str, str]) -> ForkServerProcess:
    """Start ``python WORDS`` (``-m module ...`` or ``script ...``) with its output in two files."""
    process = _CONTEXT.Process(target=_command, args=([*words], cwd, out, err, {**os.environ, **environment}))
    process.start()
    return process


def run(words: Sequence[str], cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run ``python WORDS`` to its end; what ``subprocess.run(..., capture_output=True, text=True)`` returns."""
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        process = start(words, cwd, out, err, environment)
        process.join(_LIMIT_S)
        late = process.exitcode is None
        if late:
            process.kill()
            process.join()
        printed = out.read_text(), err.read_text()
        if late:
            raise subprocess.TimeoutExpired([*words], _LIMIT_S, *printed)
        return subprocess.CompletedProcess([*words], process.exitcode, *printed)


def _command(words: list[str], cwd: Path, out: Path, err: Path, environment: dict[str, str]) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    try:
        sys.argv = words[1:] if words[0] == "-m" else words
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
    except Exception:  # as the interpreter does at the end of a program
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
