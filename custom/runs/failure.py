# SPDX-License-Identifier: Apache-2.0
"""Tidy up when an engine fails, and let the error out.

Ignite (0.5.5) swallows an error as soon as any handler listens to ``EXCEPTION_RAISED`` and none of them raises it: the
engine goes on with the next epoch and ends as if nothing had happened. A handler that raises it, on the other hand,
keeps those behind it from running. :func:`on_failure` runs every handler and raises last; a handler that fails itself, for
example because the disk is full, hides neither the error nor the handlers behind it.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ignite.engine import Engine

logger = logging.getLogger(__name__)


def on_failure(engine: "Engine", cleanup: Callable[[BaseException], None]) -> None:
    """Call ``cleanup(error)`` when ``engine`` fails; the error then leaves ``engine.run()``.

    An error inside an epoch passes here twice (from the epoch, then from the run), so ``cleanup`` must bear a second call.
    """
    from ignite.engine import Events

    if engine.has_event_handler(_let_out, Events.EXCEPTION_RAISED):
        engine.remove_event_handler(_let_out, Events.EXCEPTION_RAISED)

    def tidy_up(_: "Engine", error: BaseException) -> None:
        try:
            cleanup(error)
        except Exception as problem:
            logger.warning("tidying up after a failure failed too: %s: %s", type(problem).__name__, problem)

    engine.add_event_handler(Events.EXCEPTION_RAISED, tidy_up)
    engine.add_event_handler(Events.EXCEPTION_RAISED, _let_out)


def _let_out(engine: "Engine", error: BaseException) -> None:
    raise error
