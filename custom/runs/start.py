# SPDX-License-Identifier: Apache-2.0
"""First entries of every bundle's ``initialize``: check the command line, make errors readable, set determinism."""

import ctypes
import errno
import logging
import os
import random
import sys
import warnings
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from ..core.errors import ResourceError, UADError
from ..core.files import atomic_write_json
from .arguments import check_arguments, resolved_config

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_NO_GPU = (
    "not compiled with CUDA",
    "with arguments from the 'CUDA' backend",  # a CPU build of torch that believes CUDA to be started
    "No CUDA GPUs are available",
    "invalid device ordinal",
    "Found no NVIDIA driver",
)


def start(seed: int, num_threads: int | None = None, deterministic: bool = True) -> None:
    """Prepare the process for one workflow; nothing is written.

    Args:
        seed: seeds Python, NumPy and torch. Only code outside this package draws from these global generators;
            ours is seeded by name, see :mod:`custom.seeding`.
        num_threads: threads of torch on the CPU; None leaves torch's choice.
        deterministic: refuse non-deterministic CUDA algorithms where torch knows a deterministic one.

    Raises:
        ConfigError: a misspelt or ill-typed override on the command line.
    """
    check_command()
    keep_freed_memory()
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
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # no NaN into every new tensor
        torch.backends.cudnn.benchmark = False


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next tensor instead of handing every large block back to Linux.

    By default it hands them back, and the next step of a training on the CPU waits for as many fresh, zeroed pages. The
    peak of the memory stays what it is; results are the same bits. Measured in docs/benchmarks.md. Without glibc (macOS,
    Windows, Alpine) nothing happens.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    # Older versions take 32 MiB at the most; the second call alone would keep the first threshold at 128 KiB for good.
    if mallopt(_M_MMAP_THRESHOLD, 1 << 30) or mallopt(_M_MMAP_THRESHOLD, 32 << 20):
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def save_config(output_dir: str | Path, write: bool = True) -> None:
    """Write ``config.json``: the configuration of this command with everything imported and overridden.

    Args:
        output_dir: of the run, which must be locked: another run's configuration would be replaced.
        write: False on all processes of a distributed run but the first.
    """
    if _is_bundle_run() and write:
        atomic_write_json(Path(output_dir) / "config.json", resolved_config(_arguments()))


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
    if isinstance(error, KeyboardInterrupt):
        print("stopped by Ctrl-C; finished work is kept, the same command goes on from there.", file=sys.stderr)
        raise SystemExit(130)
    if foreseen is None or os.environ.get("UAD_DEBUG"):
        sys.__excepthook__(kind, error, traceback)
        if foreseen is None:
            return
    print(f"error: {foreseen}", file=sys.stderr)
    raise SystemExit(foreseen.exit_code)


def find_foreseen(error: BaseException | None) -> UADError | None:
    """Return the :class:`UADError` in the chain of causes of ``error`` (MONAI wraps errors of components), or None.

    A full disk, a full or missing GPU and a killed loader process are foreseen too, whoever raised the error.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, UADError):
            return error
        if (fault := _fault_of_the_machine(error)) is not None:
            return fault
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _fault_of_the_machine(error: BaseException) -> ResourceError | None:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in str(error):  # safetensors and torch tell it in words only
        place = getattr(error, "filename", None)
        return ResourceError(
            f"the disk is full{f' ({place})' if place else ''}; files that were there before are whole. Free some space and "
            "run the same command again to go on."
        )
    if any(words in str(error) for words in _NO_GPU):
        return ResourceError(
            f"this machine has no such GPU ({str(error).strip().splitlines()[0].split('. ')[0]}); take --device cpu, or one that exists "
            f"({torch.cuda.device_count()} found)."
        )
    if "DataLoader worker" in str(error):
        return ResourceError(
            "a process that loads scans was killed, mostly for lack of memory or of shared memory (/dev/shm); run the same "
            "command again with --num_workers 0."
        )
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return ResourceError(
            f"the memory of the GPU is full ({str(error).split('. ')[0]}); lower --batch_size in a training, "
            "--slice_batch_size in evaluation and inference, or take --device cpu."
        )
    return None
