# SPDX-License-Identifier: Apache-2.0
"""The handlers of a training in the one order in which they work together.

The order matters at three events. STARTED: the folder is locked before anything is written, and the checkpoint is loaded
last. EPOCH_COMPLETED: validation chooses the best checkpoint before the checkpoint of the epoch is saved. COMPLETED: the
weights are exported before the run is recorded as finished; the lock, which adds its handler late, is given back last.
"""

from collections.abc import Sequence
from typing import Any

from ignite.engine import Engine, Events

from ..runs.progress_bar import ProgressBar
from ..runs.run_folder import RunFolder
from .averaging import AveragedWeights
from .checkpoint import CrashSafeCheckpoint
from .gradient_clipping import GradientClipping
from .pictures import ValidationPictures
from .validation import AveragedValidation, WeightsExport


class TrainingHandlers:
    """Attach to a ``SupervisedTrainer``; attaches all others.

    Args:
        run_folder: lock, record, tracking and weights of the run.
        checkpoint: saves and resumes.
        validator: evaluator of the validation scans.
        val_interval: epochs between two validations.
        average: averaged weights.
        max_gradient_norm: see :class:`~custom.training.gradient_clipping.GradientClipping`.
        step_handlers: handlers of the method, for example a learning-rate schedule; they come behind the average.

    >>> from tempfile import TemporaryDirectory
    >>> from torch import nn
    >>> definition = {"bundle": "mine", "method": "mine", "contrast": "t2", "dataset": "demo", "fold": 0, "seed": 1}
    >>> with TemporaryDirectory() as folder:
    ...     run = RunFolder(folder, {**definition, "parts": {"network": None, "preparation": None}})
    ...     checkpoint = CrashSafeCheckpoint(folder, {}, sampler=None, every_epochs=1)
    ...     validator, average = Engine(lambda engine, batch: None), AveragedWeights(nn.Linear(1, 1), 0.9)
    ...     names = [type(handler).__name__ for handler in TrainingHandlers(run, checkpoint, validator, 1, average).handlers]
    >>> names[0], names[-3:]
    ('RunLock', ['AveragedValidation', 'CrashSafeCheckpoint', 'ProgressBar'])
    """

    def __init__(
        self,
        run_folder: RunFolder,
        checkpoint: CrashSafeCheckpoint,
        validator: Engine,
        val_interval: int,
        average: AveragedWeights,
        max_gradient_norm: float | None = None,
        step_handlers: Sequence[Any] = (),
    ) -> None:
        self.run_folder = run_folder
        self.handlers = [
            run_folder.lock,
            WeightsExport(run_folder, checkpoint),
            run_folder.record,
            run_folder.tracking,
            GradientClipping(max_gradient_norm),
            average,
            *step_handlers,
            AveragedValidation(validator, average, checkpoint, val_interval),
            checkpoint,
            ProgressBar(desc="training", show=run_folder.is_main),
        ]
        run_folder.tracking.attach_validation(validator)
        ValidationPictures(run_folder).attach(validator)

    def attach(self, engine: Engine) -> None:
        """Register all handlers with the trainer."""
        engine.add_event_handler(Events.STARTED, lambda trainer: self.run_folder.count(trainer.network))
        for handler in self.handlers:
            handler.attach(engine)
