# SPDX-License-Identifier: Apache-2.0
"""Everything that a training writes beside its checkpoints, in one object: lock, model definition, record, tracking, weights.

Of several processes of one training only the main one writes; the others compare and stay silent.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..models.weights import save_weights
from .lock import RunLock
from .model_folder import FILE_NAME, WEIGHTS, ModelFolder
from .record import RunRecord
from .start import save_config
from .tracking import Tracking, run_name


class RunFolder:
    """Output folder of one training.

    Args:
        folder: made if it is missing.
        definition: arguments of :meth:`~custom.runs.model_folder.ModelFolder.define`: what the model is.
        settings: further settings that are recorded and tracked; a resumed training may change them.
        is_main: False on all processes of a distributed training but the first, which write nothing.
        tracking_uri: see :class:`~custom.runs.tracking.Tracking`.
        experiment: that the run is tracked under.
        every: iterations between two tracked losses.

    >>> from functools import partial
    >>> from tempfile import TemporaryDirectory
    >>> parts = {"network": partial(nn.Linear, in_features=1, out_features=1), "preparation": None}
    >>> definition = {"bundle": "mine", "method": "mine", "contrast": "t2", "dataset": "demo", "fold": 0, "seed": 1}
    >>> with TemporaryDirectory() as folder:
    ...     run = RunFolder(folder, {**definition, "parts": parts})
    ...     run.begin()
    ...     run.fitted(nn.Linear(1, 1))
    ...     weights = run.model.weights
    >>> run.record.parameters, weights.name
    (2, 'model.safetensors')
    """

    def __init__(
        self,
        folder: str | Path,
        definition: Mapping[str, Any],
        settings: Mapping[str, Any] | None = None,
        is_main: bool = True,
        tracking_uri: str | None = None,
        experiment: str = "",
        every: int = 20,
    ) -> None:
        self.folder, self.is_main = Path(folder), is_main
        self.model = ModelFolder.draft(folder, **definition)
        known = {**self.model.flat(), **(settings or {})}
        self.lock = RunLock(folder, write=is_main)
        self.record = RunRecord(folder, known, {"run": self.model.seed}, write=is_main)
        self.tracking = Tracking(
            folder, tracking_uri, experiment, known, run_name(self.model), tags={"stage": "training", "method": self.model.method}, every=every,
            artifacts=[self.folder / name for name in (FILE_NAME, "config.json", f"{WEIGHTS}.sha256")], write=is_main,
        )  # fmt: skip

    def begin(self) -> None:
        """Lock the folder, write or compare what the model is, and note the configuration of the command.

        Raises:
            ConfigError: another process works in the folder, or it holds another model.
        """
        self.lock.acquire()
        self.model = self.model.claim(write=self.is_main)
        save_config(self.folder, write=self.is_main)

    def count(self, network: nn.Module) -> None:
        """Record and track the number of parameters."""
        parameters = sum(parameter.numel() for parameter in network.parameters())
        self.record.parameters = parameters
        self.tracking.params["parameters"] = parameters

    def export(self, network: nn.Module | Mapping[str, Tensor], notes: Mapping[str, Any] | None = None) -> None:
        """Write ``model.safetensors`` and its digest into ``model.json``.

        Args:
            network: network or state dict.
            notes: stored as text in the header of the file, beside what the model is.
        """
        if self.is_main:
            texts = {key: str(value) for key, value in {**self.model.identity, **(notes or {})}.items()}
            save_weights(network, self.folder / WEIGHTS, texts)
            self.model = self.model.claim().seal()

    def fitted(self, network: nn.Module) -> None:
        """Do all that a training without a trainer has to do once its ``network`` is fitted."""
        try:
            self.count(network)
            self.record.begin()
            self.export(network)
            self.record.end("finished")
        except Exception as error:
            self.record.fail(error)
            raise
        finally:
            self.lock.release()
