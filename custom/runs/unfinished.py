# SPDX-License-Identifier: Apache-2.0
"""What to do about a training that was stopped."""

import shlex
from pathlib import Path

from ..core.digests import read_checked_json


def planned_epochs(folder: str | Path, max_epochs: int, resume: bool = True) -> int:
    """Return the number of epochs that schedules are made for: that of the training in ``folder`` if this one ends it earlier.

    A training that is ended early, with a smaller ``--max_epochs``, is then the beginning of the planned one, bit for bit. One
    that does not ``resume`` it has a plan of its own.

    >>> planned_epochs("absent", 12)
    12
    """
    path = Path(folder) / "model.json"
    if not (resume and path.is_file()):
        return max_epochs
    training = read_checked_json(path, "choose another --output_dir.").get("training") or {}
    return max(max_epochs, int(training.get("max_epochs", 0)))


def how_to_finish(folder: str | Path) -> str:
    """Return in words how the training in ``folder`` is finished: by its own command, where ``run.json`` has noted one.

    >>> how_to_finish("absent").partition(";")[0]
    'The command that began it goes on with it'
    """
    path, command = Path(folder) / "run.json", None
    if path.is_file():
        command = read_checked_json(path, "remove it: it only tells how the run went.").get("command")
    named = shlex.join(map(str, command)) if command and command[0] == "uad" else "The command that began it"
    return (
        f"{named} goes on with it; with --max_epochs and no more epochs than are done, it ends there and exports the best "
        "weights so far."
    )
