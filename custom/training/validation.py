# SPDX-License-Identifier: Apache-2.0
"""Validate every few epochs with the averaged weights, tell the checkpoint, and export the best weights at the end."""

import logging
from dataclasses import dataclass

from ignite.engine import Engine, Events

from ..runs.run_folder import RunFolder
from .averaging import AveragedWeights
from .checkpoint import CrashSafeCheckpoint

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class AveragedValidation:
    """Attach to a ``SupervisedTrainer``, in front of the checkpoint handler: the epoch is saved with its validation.

    Args:
        validator: MONAI evaluator with the metric that the checkpoint asks for.
        average: weights to validate.
        checkpoint: keeps the best.
        interval: epochs between two validations; the last epoch is always validated.

    >>> from types import SimpleNamespace
    >>> from torch import nn
    >>> validator = SimpleNamespace(run=lambda epoch: print("validation after epoch", epoch))
    >>> checkpoint = SimpleNamespace(validated=lambda validator, trainer: None)
    >>> trainer = Engine(lambda engine, batch: None)
    >>> AveragedValidation(validator, AveragedWeights(nn.Linear(1, 1), 0.9), checkpoint, interval=2).attach(trainer)
    >>> _ = trainer.run([0], max_epochs=3)
    validation after epoch 2
    validation after epoch 3
    """

    validator: Engine
    average: AveragedWeights
    checkpoint: CrashSafeCheckpoint
    interval: int

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Validate if it is due."""
        epoch = engine.state.epoch
        if epoch % self.interval and epoch != engine.state.max_epochs:
            return
        with self.average.swapped_in():
            self.validator.run(epoch)
        self.checkpoint.validated(self.validator, engine)


@dataclass(eq=False)
class WeightsExport:
    """Export the averaged weights of the best checkpoint when the training ends.

    Args:
        run_folder: where they go.
        checkpoint: where the best is.

    >>> from tempfile import TemporaryDirectory
    >>> from types import SimpleNamespace
    >>> from custom.training.checkpoint_files import CheckpointFolder
    >>> run = SimpleNamespace(folder="run", export=lambda weights, notes: print(sorted(weights), notes))
    >>> with TemporaryDirectory() as folder:
    ...     files, content = CheckpointFolder(folder), {"average": {"average": {"weight": 0.0}}}
    ...     _ = files.save(content, 20, {"value": 0.5}, best=True)
    ...     WeightsExport(run, SimpleNamespace(files=files)).export()
    ['weight'] {'iteration': 20, 'validation': 0.5}
    True
    """

    run_folder: RunFolder
    checkpoint: CrashSafeCheckpoint

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the weights of the best checkpoint, or of the newest if none was validated."""
        if self.run_folder.is_main:
            self.run_folder.record.training_seconds = self.checkpoint.training_seconds
            self.export()

    def export(self) -> bool:
        """Write the weights; return False if there is no checkpoint to take them from."""
        files = self.checkpoint.files
        found = files.best()
        if found is None and (files.folder / "best.json").is_file():
            logger.warning("the best checkpoint is lost; the weights of the newest one are exported instead")
        found = found or files.newest()
        if found is None:
            return False
        content, info = found
        chosen = {"iteration": info["iteration"], "validation": info.get("value", "")}
        self.run_folder.export(content["average"]["average"], chosen)
        logger.info("weights of iteration %s written to %s", info["iteration"], self.run_folder.folder)
        return True
