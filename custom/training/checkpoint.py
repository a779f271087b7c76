# SPDX-License-Identifier: Apache-2.0
"""Crash-safe training: save, stop on request, resume to the same bits.

Data order, slices, timesteps, noise, augmentation and dropout are functions of (seed, epoch, batch), see
:mod:`custom.core.seeding`; network, averaged weights, optimiser, scaler and the iteration are therefore all there is to
save. A run that is killed anywhere and started again ends with the weights of an undisturbed one (on the CPU, bit for
bit). The best checkpoint is chosen on the deterministic validation metric and stores it.
"""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from ignite.engine import Engine, Events

from ..core.errors import UADError
from ..runs.failure import on_failure
from .checkpoint_files import CheckpointFolder, load_objects
from .forecast import TimeForecast

logger = logging.getLogger(__name__)
_FIRST = 10
_DIVERGED_AT = 1000.0  # times the largest of the first losses looked at, since the start or the resumption


class Interrupted(UADError):
    """The training was asked to stop, saved its state and can be resumed.

    >>> Interrupted(signal.SIGTERM, "stopped by SIGTERM after iteration 120; everything is saved.").exit_code
    143
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class CrashSafeCheckpoint:
    """Attach to a ``SupervisedTrainer``.

    Args:
        folder: of the checkpoints.
        objects: ``{name: object with state_dict and load_state_dict}``: network, optimiser, averaged weights.
        sampler: batch sampler with ``set_epoch`` and ``start_at``.
        every_epochs: epochs between two checkpoints.
        resume: go on from the newest checkpoint in ``folder`` if there is one.
        metric: name of the validation metric (smaller is better) that the best checkpoint is chosen by; None: the
            validation's key metric.
        check_every: iterations between two looks at the loss (each look waits for a GPU).
        write: False on all processes but the first of a distributed run.
        max_skipped_steps: steps in a row that a float16 run may lose to an overflow before it is stopped. Its scaler
            leaves the weights alone where loss or gradient is not a number and halves the scale, 65536 at first. Without
            a scaler (fp32, bf16) nothing protects the weights, and the first such loss stops the run.
        agree: in a distributed run, asked every ``check_every`` iterations: returns the largest of the processes' signal
            numbers (0: none), so that all of them stop after the same iteration.

    >>> from tempfile import TemporaryDirectory
    >>> from types import SimpleNamespace
    >>> network, steps = torch.nn.Linear(1, 1), []
    >>> sampler = SimpleNamespace(set_epoch=lambda epoch: None, start_at=lambda batch: None)
    >>> with TemporaryDirectory() as folder:
    ...     for epochs in (1, 3):  # the second training goes on where the first ended
    ...         trainer = Engine(lambda engine, batch: steps.append(batch) or {"loss": torch.tensor(0.5)})
    ...         trainer.scaler = None
    ...         CrashSafeCheckpoint(folder, {"network": network}, sampler, every_epochs=1).attach(trainer)
    ...         state = trainer.run([1, 2], max_epochs=epochs)
    >>> steps, state.epoch
    ([1, 2, 1, 2, 1, 2], 3)
    """

    def __init__(
        self,
        folder: str | Path,
        objects: Mapping[str, Any],
        sampler: Any,
        every_epochs: int,
        resume: bool = True,
        metric: str | None = None,
        check_every: int = 1,
        write: bool = True,
        max_skipped_steps: int = 20,
        agree: Callable[[int], int] | None = None,
    ) -> None:
        self.files = CheckpointFolder(folder)
        self.objects = dict(objects)
        self.sampler = sampler
        self.every_epochs = every_epochs
        self.resume = resume
        self.metric = metric
        self.check_every = check_every
        self.write = write
        self.max_skipped_steps = max_skipped_steps
        self.agree = agree
        self._first_losses: list[float] = []
        self.skipped_steps = self._skipped_in_a_row = 0
        self._scale = 0.0
        self.best_value = math.inf
        self._seconds_before, self._began = 0.0, time.monotonic()
        self._signal: int | None = None
        self._noticed = 0
        self._previous: dict[int, Any] = {}

    @property
    def training_seconds(self) -> float:
        """How long the training has taken, without what a kill has lost and without pauses; it changes no weight."""
        return self._seconds_before + time.monotonic() - self._began

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, behind averaging and validation: what they did in an epoch is then saved with it."""
        engine.add_event_handler(Events.STARTED, self.start)
        TimeForecast(self.write).attach(engine)
        engine.add_event_handler(Events.EPOCH_STARTED, lambda e: self.sampler.set_epoch(e.state.epoch))
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.watch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_done)
        engine.add_event_handler(Events.COMPLETED, lambda _: self._release_signals())
        on_failure(engine, lambda _: self._release_signals())

    def start(self, engine: Engine) -> None:
        """Resume if there is something to resume, and listen to SIGTERM and Ctrl-C."""
        found, self._began = self.files.newest() if self.resume else None, time.monotonic()
        if found is not None:
            content, info = found
            if engine.scaler is not None and "scaler" in content:
                engine.scaler.load_state_dict(content["scaler"])
            load_objects(self.objects, content, f"the checkpoint of iteration {info['iteration']}")
            self.best_value = float(content["best_value"])
            self._seconds_before = float(info.get("training_seconds", 0.0))
            engine.state.iteration = int(info["iteration"])
            engine.state.epoch, batch = divmod(engine.state.iteration, engine.state.epoch_length)
            if batch:
                self.sampler.start_at(batch)
            logger.info("resumed at epoch %d, iteration %d", engine.state.epoch, engine.state.iteration)
        if _has_scaler(engine):
            self._scale = engine.scaler.get_scale()
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread listen
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._notice)

    def watch(self, engine: Engine) -> None:
        """Stop on a loss that is not a number, and on request."""
        if engine.state.iteration % self.check_every == 0:
            if self.agree is not None:
                self._signal = self.agree(self._noticed) or None
            self._check_step(engine)
        if self._signal is not None and engine.state.iteration % engine.state.epoch_length:
            self._stop(engine, self._signal)  # at the end of an epoch its validation comes first

    def epoch_done(self, engine: Engine) -> None:
        """Save every few epochs and after the last, and stop on request."""
        if self._signal is not None:
            self._stop(engine, self._signal)
        if engine.state.epoch % self.every_epochs == 0 or engine.state.epoch == engine.state.max_epochs:
            self.save(engine)

    def _stop(self, engine: Engine, number: int) -> None:
        self.save(engine)
        epochs = engine.state.iteration // engine.state.epoch_length
        use = f" With --max_epochs {epochs}, it ends there and exports the best weights so far." if epochs else ""
        raise Interrupted(
            number,
            f"stopped by {signal.Signals(number).name} after iteration {engine.state.iteration}; everything is saved. "
            f"Run the same command again to resume from {self.files.folder}.{use}",
        )

    def save(self, engine: Engine) -> None:
        """Write the state of the training, unless its loss or its weights are no numbers."""
        if not _has_scaler(engine) and not _is_finite(engine.state.output["loss"]):
            raise self._lost(engine, "the loss")
        networks = [item for item in self.objects.values() if isinstance(item, torch.nn.Module)]
        if not all(_is_finite(value) for network in networks for value in network.state_dict().values()):
            raise self._lost(engine, "a weight")
        if self.write:
            self.files.save(self._content(engine), engine.state.iteration, self._info(engine))

    def validated(self, engine: Engine, trainer: Engine) -> None:
        """Keep the best checkpoint; called when the validation ``engine`` has ended."""
        metric = self.metric or engine.state.key_metric_name
        value = float(engine.state.metrics[metric])
        if value < self.best_value:
            self.best_value = value
            if self.write:
                info = {**self._info(trainer), "metric": metric, "value": value}
                self.files.save(self._content(trainer), trainer.state.iteration, info, best=True)

    def _info(self, engine: Engine) -> dict[str, Any]:
        return {"epoch": engine.state.epoch, "training_seconds": round(self.training_seconds, 1)}

    def _content(self, engine: Engine) -> dict[str, Any]:
        content = {name: item.state_dict() for name, item in self.objects.items()} | {"best_value": self.best_value}
        if engine.scaler is not None:
            content["scaler"] = engine.scaler.state_dict()
        return content

    def _notice(self, number: int, frame: FrameType | None) -> None:
        if self._noticed and number == signal.SIGINT:  # a second Ctrl-C: the step hangs, or there is no time
            self._release_signals()
            raise KeyboardInterrupt
        self._noticed = number
        if self.agree is None:
            self._signal = number

    def _check_step(self, engine: Engine) -> None:
        loss = engine.state.output["loss"]
        finite = _is_finite(loss)
        if finite:
            self._check_divergence(engine, float(torch.as_tensor(loss).detach()))
        if not _has_scaler(engine):
            if not finite:
                raise self._lost(engine, "the loss")
            return
        before, self._scale = self._scale, engine.scaler.get_scale()
        if finite and self._scale >= before:
            self._skipped_in_a_row = 0
            return
        self.skipped_steps += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row > self.max_skipped_steps:
            what = f"for {self._skipped_in_a_row} steps in a row the gradient" if finite else "the loss"
            raise self._lost(engine, what)
        logger.info(
            "iteration %d: float16 overflow, the step is skipped (scale %g, %d skipped so far; cases %s)",
            engine.state.iteration, self._scale, self.skipped_steps, _case_ids(engine),
        )  # fmt: skip

    def _check_divergence(self, engine: Engine, loss: float) -> None:
        if len(self._first_losses) < _FIRST:
            self._first_losses.append(abs(loss))
        limit = _DIVERGED_AT * max(self._first_losses[: max(len(self._first_losses) - 1, 1)])
        if abs(loss) > limit > 0:
            raise UADError(
                f"the training diverges: the loss of iteration {engine.state.iteration} is {loss:.3g}, more than "
                f"{_DIVERGED_AT:g} times what it began with; the last saved state is in {self.files.folder}. Lower --lr and "
                "train in a new --output_dir."
            )

    def _lost(self, engine: Engine, what: str) -> UADError:
        return UADError(
            f"{what} of iteration {engine.state.iteration} is not finite (cases {_case_ids(engine)}); the last good state is "
            f"in {self.files.folder}. Lower --lr, set --precision fp32, or look at these cases."
        )

    def _release_signals(self) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous.clear()


def _has_scaler(engine: Engine) -> bool:
    return engine.scaler is not None and bool(engine.scaler.is_enabled())


def _is_finite(value: Any) -> bool:
    return bool(torch.isfinite(torch.as_tensor(value)).all())


def _case_ids(engine: Engine) -> str:
    return ", ".join(map(str, engine.state.batch.get("case_id", [])))
