# SPDX-License-Identifier: Apache-2.0
"""How a process that another one started ends."""

import contextlib
import multiprocessing
import os
import threading

_FIRST_TO_GO = 500


def end_with_parent() -> None:
    """Let this process end when the one that started it is gone; by itself it would go on, or wait for ever."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def be_the_first_to_go() -> None:
    """Ask Linux to kill this process, and not the one that watches it, when the memory of the machine is full."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as stream:
        stream.write(str(_FIRST_TO_GO))
