# SPDX-License-Identifier: Apache-2.0
"""First entries of every bundle's ``initialize``: check the command line, make errors readable, set determinism."""

import json
import logging
import os
import random
import sys
import warnings
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from ..core.files import atomic_write_json
from ..core.foreseen import explain
from .arguments import check_arguments, resolved_config
from .secrets import without_secrets

COMMAND_CONFIG: ContextVar[Mapping[str, Any] | None] = ContextVar("COMMAND_CONFIG", default=None)
"""Configuration of the running command, set by ``uad``; ``python -m monai.bundle`` leaves it to be read off the command line."""


def start(seed: int, num_threads: int | None = None, deterministic: bool = True) -> None:
    """Prepare the process for one workflow; nothing is written.

    Args:
        seed: seeds Python, NumPy and torch. Only code outside this package draws from these global generators;
            ours is seeded by name, see :mod:`custom.core.seeding`.
        num_threads: threads of torch on the CPU; None leaves torch's choice.
        deterministic: refuse non-deterministic CUDA algorithms where torch knows a deterministic one.

    Raises:
        ConfigError: a misspelt or ill-typed override on the command line.
    """
    check_command()
    warnings.filterwarnings("ignore", message=".*GHSA-.*")
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # "Creating initial MLflow database tables"
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it repeats every error; ours is printed once, below
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - for libraries that use the global generator
    torch.manual_seed(seed)
    if num_threads:
        torch.set_num_threads(int(num_threads))
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # no NaN into every new tensor
        torch.backends.cudnn.benchmark = False


def save_config(output_dir: str | Path, write: bool = True) -> None:
    """Write ``config.json``: the configuration of this command with everything imported and overridden.

    Args:
        output_dir: of the run, which must be locked: another run's configuration would be replaced.
        write: False on all processes of a distributed run but the first.
    """
    config = COMMAND_CONFIG.get()
    if config is None and _is_bundle_run():
        config = resolved_config(_arguments())
    if config is not None and write:
        atomic_write_json(
            Path(output_dir) / "config.json", without_secrets(json.loads(json.dumps(config, default=str)))
        )


def check_command() -> None:
    """Make errors readable and refuse misspelt overrides, before anything that the configuration refers to is built.

    Raises:
        ConfigError: a misspelt or ill-typed override on the command line.
    """
    sys.excepthook = short_traceback
    if _is_bundle_run():
        check_arguments(_arguments())


def _is_bundle_run() -> bool:
    program = os.path.dirname(os.path.dirname(sys.argv[0] or ""))
    return "run" in sys.argv and os.path.basename(program) == "monai"


def _arguments() -> list[str]:
    return sys.argv[sys.argv.index("run") + 1 :]


def short_traceback(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print one sentence for a foreseeable fault and leave with its exit code; ``UAD_DEBUG=1`` shows everything."""
    sentence, exit_code = explain(error)
    if sentence is None or os.environ.get("UAD_DEBUG"):
        sys.__excepthook__(kind, error, traceback)
    if sentence is not None:
        print(without_secrets(sentence), file=sys.stderr)
        raise SystemExit(exit_code)
