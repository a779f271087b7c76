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


def runs_in_browser(tracking_uri: str) -> dict[str, str]:
    """Return how the runs of a database are looked at, as :func:`closing` takes it.

    >>> runs_in_browser("sqlite:///mlflow.db")
    {'compare the runs in a browser, in the view "Model training" (top left)': 'mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1'}
    """
    # MLflow 3 opens in its view for language models, which shows no curves, whatever the tags of the experiment say
    why = 'compare the runs in a browser, in the view "Model training" (top left)'
    return {why: command_line("mlflow", "ui", "--backend-store-uri", tracking_uri, "--host", "127.0.0.1")}


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
