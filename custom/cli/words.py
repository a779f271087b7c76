# SPDX-License-Identifier: Apache-2.0
"""The last lines of a command: what was written where, and a next command that can be pasted."""

import shlex
from collections.abc import Mapping
from pathlib import Path


def command_line(*words: str | Path) -> str:
    """Return words as a line for a shell.

    >>> command_line("uad", "predict", "my scan.nii.gz", "-o", "out")
    "uad predict 'my scan.nii.gz' -o out"
    """
    return shlex.join(str(word) for word in words)


def closing(written: Mapping[str, str | Path], following: Mapping[str, str] | None = None) -> None:
    """Print what was written (what it is -> where) and what can follow (why -> command line)."""
    width = max((len(what) for what in written), default=0)
    if written:
        print("\nWritten:")
        for what, place in written.items():
            print(f"  {what:<{width}}  {place}")
    if following:
        print("\nNext:")
        for why, command in following.items():
            print(f"  # {why}\n  {command}")
