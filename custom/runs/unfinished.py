# SPDX-License-Identifier: Apache-2.0
"""What to do about a training that was stopped."""

import shlex
from pathlib import Path

from ..core.digests import read_checked_json


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
