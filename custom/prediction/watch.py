# SPDX-License-Identifier: Apache-2.0
"""A batch of scans in a process of its own, watched by another: a scan that kills or stalls it costs itself only.

No check of a file foresees everything: the kernel kills a process for its memory, a library crashes on a header that nobody
thought of, a loop does not end. The process at work says which scan it takes up (:func:`begin`) and when that is prepared
(:func:`prepared`). When it dies, or prepares one scan for too long, the watching process starts it again; finished scans are
on disk, and the one that was at work is passed over with a sentence. From there on the time depends on the model and not
on the file, and is not limited.
"""

import multiprocessing
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ..core.errors import ResourceError
from ..core.processes import be_the_first_to_go, end_with_parent

TIME_LIMIT_MIN = 60.0
_STOPPED, _PATIENCE_S = 130, 10.0


class _AtWork:
    """The watched side: where to report to, and which scans ended earlier processes (path -> sentence)."""

    channel: Connection | None = None
    lost: dict[str, str] = {}  # noqa: RUF012 - one per process


def begin(path: Path) -> str | None:
    """Report that a scan is taken up; return why it must not be, where it ended an earlier process."""
    if (reason := _AtWork.lost.get(str(path))) is not None:
        return reason
    _report(str(path), True)
    return None


def prepared(path: Path) -> None:
    """Report that a scan has been read and prepared, or has failed to be."""
    _report(str(path), False)


def _report(path: str, limited: bool) -> None:
    if _AtWork.channel is not None:
        _AtWork.channel.send((path, limited))


def watched(run: Callable[[Any], int], arguments: Any, time_limit_min: float = TIME_LIMIT_MIN) -> int:
    """Return ``run(arguments)``, an exit code, of a process that is started anew when a scan has ended it.

    Args:
        run: function of a module, which reports by :func:`begin` and :func:`prepared`, keeps finished work and passes over
            it when it is called again.
        arguments: of ``run``; can be pickled.
        time_limit_min: minutes for reading and preparing one scan.

    Raises:
        ResourceError: the process died while no scan was at work.
    """
    lost: dict[str, str] = {}
    while True:
        code, path, late = _once(run, arguments, lost, 60 * time_limit_min)
        if code >= 0 and not late:
            return code
        if path is None:
            raise ResourceError(f"the process that predicts was ended ({_name_of(-code)}) before it took up a scan.")
        lost[path] = (
            f"not read and prepared within {time_limit_min:g} minutes, so it was given up; --time_limit sets another limit"
            if late
            else f"the process that worked on it was ended ({_name_of(-code)}), as the system does when the memory is full; "
            "free some memory, or convert the scan, and run the same command again"
        )


def _once(
    run: Callable[[Any], int], arguments: Any, lost: dict[str, str], limit_s: float
) -> tuple[int, str | None, bool]:
    """Run once; return the exit code (negative: the signal that ended it), the scan at work, and whether it was too late."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(run, arguments, sender, dict(lost)))
    process.start()
    sender.close()
    path, limited, late = None, False, False
    try:
        with receiver:
            while ready := wait([receiver, process.sentinel], limit_s if limited else None):
                if receiver not in ready:
                    break
                try:
                    path, limited = receiver.recv()
                except EOFError:
                    break
            else:
                late = True
                process.kill()
        process.join()
    except KeyboardInterrupt:  # a terminal sends it to both
        process.join(_PATIENCE_S)
        if process.exitcode == _STOPPED:  # it has said so itself
            return _STOPPED, path, False
        raise
    finally:
        process.kill()  # nothing, where it has ended
        process.join()
    return process.exitcode or 0, path, late


def _work(run: Callable[[Any], int], arguments: Any, channel: Connection, lost: dict[str, str]) -> None:
    end_with_parent()
    be_the_first_to_go()
    _AtWork.channel, _AtWork.lost = channel, lost
    sys.exit(run(arguments))


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
