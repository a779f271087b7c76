# SPDX-License-Identifier: Apache-2.0
"""From an exception to a sentence for the user and an exit code; used by every command, whoever started it.

Exit codes: 1 the machine gives no more (or a defect of this package), 2 settings or places that cannot work, 4 scans or
lists that cannot be used, 130 stopped by Ctrl-C, 141 the reader of the output has gone.
"""

import errno
import sys

from .errors import ConfigError, DiskFullError, ResourceError, UADError
from .files import NO_SPACE

_NO_PLACE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
    *(errno.ELOOP, errno.ENODEV, errno.EXDEV),
)
# of safetensors, torch, SQLite, other processes
_NO_SPACE_IN_WORDS = ("No space left on device", "[Errno 28]", "disk is full")
_NO_GPU = (
    "not compiled with CUDA",
    "with arguments from the 'CUDA' backend",  # a CPU build of torch that believes CUDA to be started
    "No CUDA GPUs are available",
    "invalid device ordinal",
    "Found no NVIDIA driver",
)


def explain(error: BaseException) -> tuple[str | None, int]:
    """Return the sentence to print and the exit code; no sentence for a defect, which keeps its traceback."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped by Ctrl-C; finished work is kept, the same command goes on from there.", 130
    if isinstance(error, BrokenPipeError):  # `uad ... | head`: nobody reads on, as for every Unix command
        return "", 141
    foreseen = find_foreseen(error)
    if foreseen is not None:
        return f"error: {foreseen}", foreseen.exit_code
    return None, 1


def find_foreseen(error: BaseException | None) -> UADError | None:
    """Return the :class:`UADError` in the chain of causes of ``error`` (MONAI wraps errors of components), or None.

    A full disk, a place that cannot be written, a name that is not UTF-8, full memory, a full or missing GPU and a killed
    loader process are foreseen too, whoever raised the error.
    """
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    for link in chain:
        if isinstance(link, UADError):
            return link
        if (fault := _fault_of_the_machine(link)) is not None:
            return fault
    return None


def says_disk_full(text: str) -> bool:
    """Tell whether the words of an error, of this process or another one, are those of a full disk."""
    return any(words in text for words in _NO_SPACE_IN_WORDS)


def _fault_of_the_machine(error: BaseException) -> UADError | None:
    text = str(error)
    if isinstance(error, OSError) and error.errno in _NO_PLACE:
        return ConfigError(
            f"{error.filename or 'a file'} cannot be used ({error.strerror}); check its permissions, or choose another place."
        )
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        near = error.object[max(error.start - 30, 0) : error.end + 30]
        return ConfigError(
            f"a name that is no UTF-8 text cannot be used here (...{near!r}...); rename the file or folder."
        )
    if "at start of device string" in text or "Invalid device string" in text:
        return ConfigError(
            f"--device takes cpu, cuda or cuda:NUMBER ({text.strip().splitlines()[0].split('. ')[0][:160]})."
        )
    full = isinstance(error, OSError) and error.errno in NO_SPACE
    if full or says_disk_full(text):
        place = getattr(error, "filename2", None) or getattr(error, "filename", None)  # of a copy, where it goes
        return DiskFullError(
            f"the disk is full{f' ({place})' if place else ''}; files that were there before are whole. Free some space and "
            "run the same command again to go on."
        )
    if any(words in text for words in _NO_GPU):
        return ResourceError(
            f"this machine has no such GPU ({text.strip().splitlines()[0].split('. ')[0]}); take --device cpu, or one that "
            f"exists ({_gpus()} found)."
        )
    if "DataLoader worker" in text:
        return ResourceError(
            "a process that loads scans was killed, mostly for lack of memory or of shared memory (/dev/shm); run the same "
            "command again with --num_workers 0."
        )
    if type(error).__name__ == "OutOfMemoryError":  # torch's; torch is not imported for the question
        return ResourceError(
            f"the memory of the GPU is full ({text.split('. ')[0]}); lower --batch_size in a training, "
            "--slice_batch_size in evaluation and inference, or take --device cpu."
        )
    if isinstance(error, MemoryError) or "not enough memory: you tried to allocate" in text:
        return ResourceError(
            "this machine has no more memory to give; lower --batch_size in a training, --slice_batch_size in evaluation and "
            "inference, or end other programs."
        )
    return None


def _gpus() -> int:
    torch = sys.modules.get("torch")
    return int(torch.cuda.device_count()) if torch is not None else 0
