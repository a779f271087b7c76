# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can mend: one sentence saying what was found, where, why it matters and what to do.

The command-line entry points print the message of a :class:`UADError` without a traceback and leave with its
``exit_code``; every other exception is a defect of this package and keeps its traceback.
"""


class UADError(ValueError):
    """Base of all foreseeable faults."""

    exit_code = 2


class ConfigError(UADError):
    """A setting, an override or a combination of settings cannot work (exit code 2)."""


class ResourceError(UADError):
    """The machine has no more disk or memory to give (exit code 1)."""

    exit_code = 1


class DiskFullError(ResourceError):
    """The disk is full; whatever comes next cannot be written either, so a batch ends (exit code 1)."""


class DataError(UADError):
    """A scan, mask, segmentation or list of scans cannot be used (exit code 4).

    Args:
        message: full sentence(s) for the user.
        case: case id or file name that the fault belongs to; put in front of the message.
    """

    exit_code = 4

    def __init__(self, message: str, case: str | None = None) -> None:
        super().__init__(f"{case}: {message}" if case else message)
        self.case = case
