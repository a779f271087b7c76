# SPDX-License-Identifier: Apache-2.0
"""First entries of every bundle's ``initialize``: check the command line, make errors readable, set determinism."""

import logging
import os
import random
import sys
import warnings
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from ..atomic import atomic_write_json
from ..errors import UADError
from .arguments import check_arguments, resolved_config


def start(
    seed: int, num_threads: int | None = None, deterministic: bool = True, output_dir: str | Path | None = None
) -> None:
    """Prepare the process for one workflow.

    Args:
        seed: seeds Python, NumPy and torch. Only code outside this package draws from these global generators;
            ours is seeded by name, see :mod:`custom.seeding`.
        num_threads: threads of torch on the CPU; None leaves torch's choice.
        deterministic: refuse non-deterministic CUDA algorithms where torch knows a deterministic one.
        output_dir: where ``config.json``, the configuration with everything imported and overridden, is written.

    Raises:
        ConfigError: a misspelt or ill-typed override on the command line.
    """
    check_command()
    if _is_bundle_run() and output_dir is not None:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        atomic_write_json(Path(output_dir) / "config.json", resolved_config(_arguments()))
    warnings.filterwarnings("ignore", message=".*GHSA-.*")
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it repeats every error; ours is printed once, below
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - for libraries that use the global generator
    torch.manual_seed(seed)
    if num_threads:
        torch.set_num_threads(int(num_threads))
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False


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
    foreseen = find_foreseen(error)
    if foreseen is None or os.environ.get("UAD_DEBUG"):
        sys.__excepthook__(kind, error, traceback)
        if foreseen is None:
            return
    print(f"error: {foreseen}", file=sys.stderr)
    raise SystemExit(foreseen.exit_code)


def find_foreseen(error: BaseException | None) -> UADError | None:
    """Return the :class:`UADError` in the chain of causes of ``error`` (MONAI wraps errors of components), or None."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, UADError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
