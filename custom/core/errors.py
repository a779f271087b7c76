# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can mend: one sentence saying what was found, where, why it matters and what to do.

The command-line entry points print the message of a :class:`UADError` without a traceback and leave with its
``exit_code``; every other exception is a defect of this package and keeps its traceback.
"""

import difflib
from collections.abc import Iterable, Sequence

from .codes import CODES


class UADError(ValueError):
    """Base of all foreseeable faults.

    >>> try:
    ...     raise DataError("the brain mask is empty; make it again.", case="P07")
    ... except UADError as error:
    ...     print(f"error: {error} (exit code {error.exit_code})")
    error: P07: the brain mask is empty; make it again. (exit code 4)
    """

    exit_code = 2


class ConfigError(UADError):
    """A setting, an override or a combination of settings cannot work (exit code 2).

    >>> from custom.core.files import read_json
    >>> try:
    ...     read_json("no/protocol.json", "give its path.")
    ... except ConfigError as error:
    ...     print(error)
    no/protocol.json cannot be read: No such file or directory; give its path.
    """


class ResourceError(UADError):
    """The machine has no more disk or memory to give (exit code 1).

    >>> from custom.core.foreseen import find_foreseen
    >>> error = find_foreseen(MemoryError())
    >>> type(error).__name__, str(error).partition(";")[0]
    ('ResourceError', 'this machine has no more memory to give')
    """

    exit_code = 1


class DiskFullError(ResourceError):
    """The disk is full; whatever comes next cannot be written either, so a batch ends (exit code 1).

    >>> import errno
    >>> from custom.core.foreseen import find_foreseen
    >>> print(str(find_foreseen(OSError(errno.ENOSPC, "No space left on device", "map.nii.gz"))).partition(";")[0])
    the disk is full (map.nii.gz)
    """


class DataError(UADError):
    """A scan, mask, segmentation or list of scans cannot be used (exit code 4).

    Args:
        message: full sentence(s) for the user.
        case: case id or file name that the fault belongs to; put in front of the message.
        code: key of :data:`custom.core.codes.CODES` for programs, "" where there is none.
        what: what is wrong, without reasons and remedy.

    >>> error = DataError("the brain mask is empty; make it again.", case="P07", code="mask-empty")
    >>> str(error), error.case, error.code
    ('P07: the brain mask is empty; make it again.', 'P07', 'mask-empty')
    """

    exit_code = 4

    def __init__(self, message: str, case: str | None = None, code: str = "", what: str = "") -> None:
        super().__init__(f"{case}: {message}" if case else message)
        self.case = case
        self.code = code
        self.what = what or message

    @classmethod
    def of(cls, code: str, what: str, case: str | None = None) -> "DataError":
        """Return the error of a code: what is wrong here, and why it matters and what to do from the table.

        >>> str(DataError.of("empty-file", "a.nii is empty", "case7"))
        'case7: a.nii is empty: it holds no scan; copy or download the file again'
        """
        entry = CODES[code]
        return cls(f"{what}: {entry.why}; {entry.remedy}", case, code, what)


def did_you_mean(name: str, known: Iterable[str], shown: str = "{}", cutoff: float = 0.5) -> str:
    """Return "did you mean ...? " with the known name that a misspelt one resembles most, or nothing.

    >>> did_you_mean("max_epoch", ["max_epochs", "seed"], "--{}")
    'did you mean --max_epochs? '
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {shown.format(close[0])}? " if close else ""


def listed(names: Sequence[str], most: int) -> str:
    """Return names for a message; of many, the first ``most`` and the number of the others.

    >>> listed(["a", "b"], most=2), listed(["a", "b", "c", "d"], most=2)
    ('a, b', 'a, b and 2 more')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
