# SPDX-License-Identifier: Apache-2.0
"""Track a run: every number goes to the local outbox at once and to MLflow from a background thread.

A tracking server that is down, slow, full or refuses costs one warning and, at the end, at most ``patience_s`` seconds;
``uad sync FOLDER`` sends the rest later. MONAI's ``MLFlowHandler`` raises into the training instead.
"""

import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from .failure import on_failure
from .model_folder import ModelFolder
from .outbox import Outbox
from .record import source_revision
from .secrets import without_secrets
from .sync import sync_outbox

logger = logging.getLogger(__name__)


class _BackgroundSync:
    """Send an outbox every ``period_s`` seconds (ten times as many after a failure) without ever disturbing the main thread."""

    def __init__(self, folder: str | Path, tracking_uri: str, period_s: float = 10.0, patience_s: float = 5.0) -> None:
        self.folder, self.tracking_uri = Path(folder), tracking_uri
        self.period_s, self.patience_s = period_s, patience_s
        self._end = threading.Event()
        self._given_up = threading.Event()
        self._warned = False
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Send what is left, waiting at most ``patience_s``."""
        self._end.set()
        self._thread.join(self.patience_s)
        if self._thread.is_alive():
            self._given_up.set()
            self._warn("it takes too long")

    def _work(self) -> None:
        wait = 0.0
        while not self._end.wait(wait):
            wait = self.period_s if self._try() else 10 * self.period_s
        self._try()

    def _try(self) -> bool:
        try:
            sync_outbox(self.folder, self.tracking_uri, stop=self._given_up.is_set)
        except Exception as error:
            self._warn(str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__)
            return False
        return True

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "tracking at %s does not work (%s); the run goes on and everything is kept in %s. Send it later with: "
                "uad sync %s",
                without_secrets(self.tracking_uri), without_secrets(reason), self.folder, self.folder,
            )  # fmt: skip


class Tracking:
    """Attach to a trainer or an evaluator; nothing that goes wrong in here reaches it.

    Args:
        folder: output folder; one folder is one run.
        tracking_uri: MLflow server or ``sqlite:///`` database; None, "none" or "" keeps the outbox only.
        name: of the run, see :func:`run_name`; the folder's name if None.
        experiment: that the run belongs to.
        params: settings, flat.
        tags: for example the method, or the run folder of the model that is evaluated.
        every: iterations between two training losses.
        artifacts: files and folders copied at the end, if they exist.
        parent: output folder of the run that this one belongs to (an evaluation to its training).
        prefix: put in front of metric names ("train", "evaluation").
        write: False on all processes but the first.

    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> trainer = Engine(lambda engine, loss: {"loss": torch.tensor(loss)})
    >>> with TemporaryDirectory() as folder:
    ...     tracking = Tracking(folder, None, "demo", {"lr": 0.001}, every=1)
    ...     tracking.attach(trainer)
    ...     _ = trainer.run([0.5, 0.25])
    ...     [event["metrics"] for event, _ in tracking.outbox.lines() if "metrics" in event]
    [{'train/loss': 0.5}, {'train/loss': 0.25}]
    """

    def __init__(
        self,
        folder: str | Path,
        tracking_uri: str | None,
        experiment: str,
        params: Mapping[str, Any],
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        every: int = 20,
        artifacts: Sequence[str | Path] = (),
        parent: str | Path | None = None,
        prefix: str = "train",
        write: bool = True,
    ) -> None:
        self.outbox = Outbox(folder)
        self.tracking_uri = None if str(tracking_uri).lower() in ("none", "null", "") else tracking_uri
        self.experiment, self.params, self.tags = experiment, dict(params), dict(tags or {})
        self.name = name or Path(folder).resolve().name
        self.every, self.artifacts, self.prefix, self.write = every, list(artifacts), prefix, write
        self.parent = parent
        self._sync: _BackgroundSync | None = None
        self._open = self._warned = False

    def attach(self, engine: Engine) -> None:
        """Register with the engine."""
        if not self.write:
            return
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self.loss)
        engine.add_event_handler(Events.COMPLETED, self.complete)
        on_failure(engine, self.fail)

    def attach_validation(self, validator: Engine) -> None:
        """Record the metrics of a validation, step = epoch of the training."""
        if self.write:
            validator.add_event_handler(Events.COMPLETED, self.validation)

    def start(self, engine: Engine) -> None:
        """Open the run."""
        self._open = True
        self._record(lambda: self.outbox.start(self.name, self.experiment, _source() | self.tags, self.parent))
        self._record(lambda: self.outbox.params(self.params))
        if self.tracking_uri:
            self._sync = _BackgroundSync(self.outbox.folder, self.tracking_uri)
            self._sync.start()

    def loss(self, engine: Engine) -> None:
        """Record the loss of an iteration and the learning rate, where the engine has them."""
        output = engine.state.output
        if isinstance(output, Mapping) and "loss" in output:
            values, step = {f"{self.prefix}/loss": output["loss"].item()}, engine.state.iteration
            if optimizer := getattr(engine, "optimizer", None):
                values[f"{self.prefix}/learning_rate"] = optimizer.param_groups[0]["lr"]
            self._record(lambda: self.outbox.metrics(values, step))

    def validation(self, validator: Engine) -> None:
        """Record what a validation measured."""
        self._metrics("validation", validator.state.metrics, validator.state.epoch)

    def picture(self, path: str | Path) -> None:
        """Record a picture that was made during the run."""
        if self._open:
            self._record(lambda: self.outbox.artifact(path, "pictures"))

    def complete(self, engine: Engine) -> None:
        """Record final metrics and artifacts and close the run."""
        self._metrics(self.prefix, engine.state.metrics, engine.state.iteration)
        for path in self.artifacts:
            if Path(path).exists():
                to = Path(path).name if Path(path).is_dir() else ""  # a folder stays one
                self._record(lambda path=path, to=to: self.outbox.artifact(path, to))  # type: ignore[misc]
        self._close("FINISHED")

    def fail(self, error: BaseException) -> None:
        """Close the run as failed, or as killed if it was asked to stop."""
        self._close("KILLED" if getattr(error, "exit_code", 0) > 128 else "FAILED")

    def _metrics(self, prefix: str, values: Mapping[str, Any], step: int) -> None:
        numbers = {f"{prefix}/{key}": float(value) for key, value in values.items() if _is_number(value)}
        if numbers:
            self._record(lambda: self.outbox.metrics(numbers, step))

    def _close(self, status: str) -> None:
        if not self._open:  # never began, for example because the folder belongs to another process
            return
        self._open = False
        self._record(lambda: self.outbox.status(status))
        if self._sync is not None:
            self._sync.finish()

    def _record(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            if not self._warned:
                self._warned = True
                logger.warning(
                    "%s cannot be written (%s); the run goes on untracked.", self.outbox.path, error.strerror
                )


def run_name(model: ModelFolder, folder: str | Path | None = None) -> str:
    """Return what a run is called: method, data set, contrast and fold, then what its folder adds to them.

    Args:
        model: that is trained or applied.
        folder: output folder of a run that applies the model, for example of an evaluation; None: its training.
    """
    words = f"{model.method} {model.dataset}_{model.contrast}_fold{model.fold}"
    own = model.folder.resolve().name
    words += "" if own in words else f" {own}"
    return words if folder is None else f"{words}, {Path(folder).resolve().name}"


def _source() -> dict[str, str]:
    """Return MLflow's own tags for the program and the revision of its source."""
    found = {"mlflow.source.name": Path(sys.argv[0]).name, "mlflow.source.type": "LOCAL"}
    return found | ({"mlflow.source.git.commit": commit} if (commit := source_revision()) else {})


def _is_number(value: Any) -> bool:
    return getattr(value, "ndim", 0) == 0 and hasattr(value, "__float__")
