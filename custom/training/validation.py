# SPDX-License-Identifier: Apache-2.0
"""Validate every few epochs with the averaged weights, tell the checkpoint, and export the best weights at the end."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ..models.weights import save_weights
from .averaging import AveragedWeights
from .checkpoint import CrashSafeCheckpoint

logger = logging.getLogger(__name__)


class AveragedValidation:
    """Attach to a ``SupervisedTrainer``, behind the checkpoint handler.

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
    """Write ``model.safetensors``, the averaged weights of the best checkpoint, when the training ends.

    Args:
        path: name of the weights file; its digest goes beside it.
        checkpoint: where the best is.
        metadata: settings of the model, stored in the file's header as text.
        write: False on all processes but the first.
    """

    def __init__(
        self, path: str | Path, checkpoint: CrashSafeCheckpoint, metadata: Mapping[str, Any], write: bool = True
    ) -> None:
        self.path = Path(path)
        self.checkpoint = checkpoint
        self.metadata = {key: str(value) for key, value in metadata.items()}
        self.write = write

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the weights of the best checkpoint, or of the newest if none was validated."""
        if self.write:
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
        chosen = {"iteration": str(info["iteration"]), "validation": str(info.get("value", ""))}
        save_weights(content["average"]["average"], self.path, self.metadata | chosen)
        logger.info("weights of iteration %s written to %s", info["iteration"], self.path)
        return True
