# SPDX-License-Identifier: Apache-2.0
"""Validate every few epochs with the averaged weights, tell the checkpoint, and export the best weights at the end."""

import logging

from ignite.engine import Engine, Events

from ..runs.run_folder import RunFolder
from .averaging import AveragedWeights
from .checkpoint import CrashSafeCheckpoint

logger = logging.getLogger(__name__)


class AveragedValidation:
    """Attach to a ``SupervisedTrainer``, in front of the checkpoint handler: the epoch is saved with its validation.

    Args:
        validator: MONAI evaluator with the metric that the checkpoint asks for.
        average: weights to validate.
        checkpoint: keeps the best.
        interval: epochs between two validations; the last epoch is always validated.
    """

    def __init__(
        self, validator: Engine, average: AveragedWeights, checkpoint: CrashSafeCheckpoint, interval: int
    ) -> None:
        self.validator = validator
        self.average = average
        self.checkpoint = checkpoint
        self.interval = interval

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


class WeightsExport:
    """Export the averaged weights of the best checkpoint when the training ends.

    Args:
        run_folder: where they go.
        checkpoint: where the best is.
    """

    def __init__(self, run_folder: RunFolder, checkpoint: CrashSafeCheckpoint) -> None:
        self.run_folder = run_folder
        self.checkpoint = checkpoint

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the weights of the best checkpoint, or of the newest if none was validated."""
        if self.run_folder.is_main:
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
