# SPDX-License-Identifier: Apache-2.0
"""A bar with loss and remaining time on a terminal, a line per epoch in a log file otherwise; both on stderr."""

import sys
import time
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from tqdm import tqdm

from .failure import on_failure

_LINE_EVERY_S = 20.0  # least seconds between two lines where stderr is no terminal


class ProgressBar:
    """Attach to a trainer or an evaluator.

    Args:
        desc: what is done.
        show: False switches everything off (all processes but the first).

    >>> import torch
    >>> from contextlib import redirect_stderr
    >>> trainer = Engine(lambda engine, batch: {"loss": torch.tensor(0.5)})
    >>> ProgressBar(desc="training").attach(trainer)
    >>> with redirect_stderr(sys.stdout):
    ...     _ = trainer.run([1, 2])
    training: 2/2 loss 0.5000 0.0 min left
    """

    def __init__(self, desc: str, show: bool = True) -> None:
        self.desc, self.show = desc, show
        self._bar: Any = None
        self._start = self._last = 0.0
        self._first = 0

    def attach(self, engine: Engine) -> None:
        """Register with the engine, behind the handler that resumes."""
        if self.show:
            engine.add_event_handler(Events.STARTED, self.start)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
            engine.add_event_handler(Events.COMPLETED, self.stop)
            on_failure(engine, lambda _: self.stop(engine))

    def start(self, engine: Engine) -> None:
        """Open the bar at the iteration where the run begins."""
        self._start = self._last = time.monotonic()
        self._first = engine.state.iteration
        if sys.stderr.isatty():
            total = engine.state.max_epochs * engine.state.epoch_length
            self._bar = tqdm(
                total=total, initial=self._first, desc=self.desc, file=sys.stderr, dynamic_ncols=True, unit="step"
            )

    def step(self, engine: Engine) -> None:
        """Show an iteration."""
        now, done = time.monotonic(), engine.state.iteration
        total = engine.state.max_epochs * engine.state.epoch_length
        due = now - self._last >= (1.0 if self._bar is not None else _LINE_EVERY_S) or done == total
        if self._bar is not None:
            self._bar.update()
        if not due:  # the loss is looked at rarely: every look waits for a GPU
            return
        self._last = now
        output = engine.state.output
        loss = f"loss {output['loss'].item():.4f}" if isinstance(output, Mapping) and "loss" in output else ""
        if self._bar is not None:
            self._bar.set_postfix_str(loss, refresh=False)
            return
        left = (now - self._start) / max(done - self._first, 1) * (total - done)
        print(f"{self.desc}: {done}/{total} {loss} {left / 60:.1f} min left", file=sys.stderr, flush=True)

    def stop(self, engine: Engine) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class ValidationLine:
    """Print the key metric of every validation on stderr.

    Args:
        show: False on all processes but the first.

    >>> from contextlib import redirect_stderr
    >>> from types import SimpleNamespace
    >>> state = SimpleNamespace(epoch=3, key_metric_name="val_loss", metrics={"val_loss": 0.125})
    >>> with redirect_stderr(sys.stdout):
    ...     ValidationLine()(SimpleNamespace(state=state))
    validation, epoch 3: val_loss 0.12500
    """

    def __init__(self, show: bool = True) -> None:
        self.show = show

    def attach(self, engine: Engine) -> None:
        """Register with the validation's engine."""
        if self.show:
            engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Print the line."""
        metric = engine.state.key_metric_name
        value = engine.state.metrics[metric]
        tqdm.write(f"validation, epoch {engine.state.epoch}: {metric} {value:.5f}", file=sys.stderr)
