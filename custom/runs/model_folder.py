# SPDX-License-Identifier: Apache-2.0
"""The model folder is the model: ``model.json`` says everything that changes a map, and everything that applies a model reads it.

::

    {"format": 1, "bundle": "ddpm_ssim_ens", "method": "ddpm_ssim_ens",
     "contrast": "t2", "dataset": "ixi", "fold": 0, "seed": 3141,
     "parts": {"network": {"_target_": "monai.networks.nets.DiffusionModelUNet", "_mode_": "callable", "channels": ..., ...},
               "scheduler": {...}, "noise": {...}, "patches": null, "preparation": {...}},
     "training": {"batch_size": 32, ...},
     "weights": {"file": "model.safetensors", "sha256": "..."},
     "calibration": null,
     "content_sha256": "..."}

* :meth:`ModelFolder.define` writes it when a training starts, and refuses a folder with another definition. ``parts``
  are described by :func:`custom.core.description.describe`: frozen dataclasses by their fields, networks and schedulers
  (``"_mode_": "callable"``) by their keyword arguments. ``training`` holds what a resumed training must share.
* :meth:`ModelFolder.seal` adds the digest of the exported weights; a calibration of other weights is dropped.
* :meth:`ModelFolder.promote` adds the calibration of an evaluation, never that of a trial.
* :meth:`ModelFolder.read` reads it back and refuses what it should not trust. :meth:`ModelFolder.build` makes a part,
  :meth:`ModelFolder.network` the network without its weights; ``weights`` is the path of those and ``weights_sha256``
  their digest, which :func:`custom.models.weights.load_weights` compares.

``calibration`` holds ``score`` (name) and ``scoring`` (description), ``postprocessing`` (description), ``thresholds``
(``{name: {"value": >= 0, "source": in words}}``, the default first), ``healthy_quantiles``, ``healthy_scans``,
``reference``, ``spacing_mm``, ``reconstruction`` (``test_timesteps`` and the like), ``weights_sha256`` and ``trial`` (null, or
why it may not be promoted); :class:`custom.prediction.calibration.Calibration` reads it. More keys are allowed.

``content_sha256`` protects against accidents (:mod:`custom.core.digests`); :mod:`custom.core.description` limits what the file may name.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.description import build, describe
from ..core.digests import file_sha256, read_checked_json, write_checked_json
from ..core.errors import ConfigError
from ..core.files import atomic_path
from .lock import RunLock
from .model_content import AGAIN, FORMAT, changes, check_content, leaves, refuse_missing, refuse_old
from .unfinished import how_to_finish

__all__ = ["FILE_NAME", "WEIGHTS", "ModelFolder", "build", "describe"]
FILE_NAME, WEIGHTS = "model.json", "model.safetensors"
IDENTITY = ("bundle", "method", "contrast", "dataset", "fold", "seed")
_NAMED = 4


@dataclass(frozen=True, eq=False)
class ModelFolder:
    """A folder with a model, at any stage between the start of its training and a promoted calibration.

    Attributes:
        folder: the folder.
        content: what ``model.json`` holds, without its digest.

    >>> from custom.core.resources import resource
    >>> model = ModelFolder.read(resource("custom/released/restoration_t2"))
    >>> model.method, model.contrast, model.build("preparation").spacing_mm
    ('restoration', 't2', 2.0)
    """

    folder: Path
    content: Mapping[str, Any]

    @classmethod
    def define(cls, folder: str | Path, *, write: bool = True, **definition: Any) -> "ModelFolder":
        """Begin a model; a folder that holds the same definition already (an interrupted training) is taken up.

        Args:
            folder: of the run; made if it is missing.
            write: False on all processes of a distributed run but the first, which only compare.
            **definition: see :meth:`draft`.

        Raises:
            ConfigError: the folder holds another model, or a run of an older version; or a part cannot be described.
        """
        return cls.draft(folder, **definition).claim(write)

    @classmethod
    def draft(
        cls,
        folder: str | Path,
        *,
        bundle: str,
        method: str,
        contrast: str,
        dataset: str,
        fold: int,
        seed: int,
        parts: Mapping[str, Any],
        training: Mapping[str, Any] | None = None,
    ) -> "ModelFolder":
        """Return the definition that :meth:`define` would write; nothing is read or written.

        Args:
            folder: of the run.
            bundle: folder name of the bundle that trains the model and applies it.
            method: name of the method in tables; variants of one bundle have several.
            contrast, dataset, fold, seed: of the training.
            parts: by name, everything that changes a map; at least ``network`` and ``preparation``.
            training: further settings (JSON values) that a resumed training must share, for example ``batch_size``.
        """
        content: dict[str, Any] = {
            "format": FORMAT, "bundle": bundle, "method": method, "contrast": contrast, "dataset": dataset, "fold": fold,
            "seed": seed, "parts": describe(parts), "training": describe(training or {}), "weights": None,
            "calibration": None,
        }  # fmt: skip
        check_content(content, Path(folder) / FILE_NAME)
        return cls(Path(folder), content)

    def claim(self, write: bool = True) -> "ModelFolder":
        """Write this definition, or return the model of the folder if it has the same one.

        Raises:
            ConfigError: see :meth:`define`.
        """
        if not (self.folder / FILE_NAME).exists():
            refuse_old(self.folder, "choose another --output_dir or remove the folder")
            if write:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._write()
            return self
        known = ModelFolder.read(self.folder)
        if changed := changes(known.definition(), self.definition()):
            more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
            raise ConfigError(
                f"{self.folder} holds a model trained with other settings ({', '.join(changed[:_NAMED])}{more}); choose "
                "another --output_dir or remove the folder."
            )
        return known

    @classmethod
    def read(cls, folder: str | Path, bundle: str | None = None) -> "ModelFolder":
        """Return the model in ``folder``.

        Args:
            folder: of a run, or ``models`` of a release.
            bundle: bundle that is about to apply the model; None: any.

        Raises:
            ConfigError: no model, a damaged file, an unknown format, a value out of range, or a model of another bundle.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            refuse_missing(path.parent, FILE_NAME)
        content = read_checked_json(path, AGAIN)
        check_content(content, path)
        if bundle is not None and content["bundle"] != bundle:
            raise ConfigError(
                f"{path.parent} holds a model of the bundle {content['bundle']} (method {content['method']}); use "
                f"bundles/{content['bundle']}, not {bundle}."
            )
        return cls(path.parent, content)

    def seal(self) -> "ModelFolder":
        """Note the digest of the exported weights; a calibration that belongs to other weights is dropped."""
        entry = {"file": WEIGHTS, "sha256": file_sha256(self.folder / WEIGHTS)}
        current = ModelFolder.read(self.folder)
        kept = current.content["calibration"] if current.content["weights"] == entry else None
        return current._changed(weights=entry, calibration=kept)

    def promote(self, calibration: Mapping[str, Any]) -> "ModelFolder":
        """Make the calibration of an evaluation that of the model.

        Args:
            calibration: what the evaluation wrote, see the module's docstring.

        Raises:
            ConfigError: a trial, an evaluation of other weights, a value out of range, or a training is under way here.
        """
        if calibration.get("trial"):
            raise ConfigError(
                f"this evaluation is a trial ({calibration['trial']}): its thresholds are not those of the model. Evaluate all "
                "scans, then promote."
            )
        with RunLock(self.folder):
            return ModelFolder.read(self.folder)._calibrated(calibration)

    def copy(self, folder: Path, calibration: Mapping[str, Any]) -> "ModelFolder":
        """Write this model with another calibration into a folder, ``model.json`` last, and return that."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / self.weights.name) as temporary:
            shutil.copyfile(self.weights, temporary)
        return ModelFolder(folder, self.content)._calibrated(calibration)

    def build(self, part: str) -> Any:
        """Return a part, made from its description; None where the model has it as null.

        Raises:
            ConfigError: the model has no such part, or its description cannot be built.
        """
        if part not in self.content["parts"]:
            known = ", ".join(self.content["parts"])
            raise ConfigError(
                f"the model in {self.folder} has no part {part!r} (its parts: {known}); it belongs to another bundle."
            )
        try:
            return build(self.content["parts"][part])
        except ConfigError as error:
            raise ConfigError(f"{self.folder / FILE_NAME}, {part}: {error}") from error

    def network(self) -> Any:
        """Return the network with fresh weights."""
        return self.build("network")()

    @property
    def bundle(self) -> str:
        """Folder name of the model's bundle."""
        return str(self.content["bundle"])

    @property
    def method(self) -> str:
        """Name of the method in tables."""
        return str(self.content["method"])

    @property
    def contrast(self) -> str:
        """Contrast of the training scans."""
        return str(self.content["contrast"])

    @property
    def dataset(self) -> str:
        """Name of the training set."""
        return str(self.content["dataset"])

    @property
    def fold(self) -> int:
        """Fold of the training set."""
        return int(self.content["fold"])

    @property
    def seed(self) -> int:
        """Seed of the training, and of the noise that reconstructions draw."""
        return int(self.content["seed"])

    @property
    def calibration(self) -> Mapping[str, Any] | None:
        """What :meth:`promote` has put here, or None."""
        return self.content["calibration"]  # type: ignore[no-any-return]

    @property
    def identity(self) -> dict[str, Any]:
        """Bundle, method, contrast, data set, fold and seed."""
        return {name: self.content[name] for name in IDENTITY}

    @property
    def weights(self) -> Path:
        """Path of the weights.

        Raises:
            ConfigError: the training has not exported any yet.
        """
        return self.folder / str(self._weights()["file"])

    @property
    def weights_sha256(self) -> str:
        """Digest of the weights, see :attr:`weights`."""
        return str(self._weights()["sha256"])

    def flat(self) -> dict[str, Any]:
        """Return the definition as ``{"parts.noise.octaves": 6, ...}``, for trackers and records."""
        return dict(leaves(self.definition(), ""))

    def _weights(self) -> Mapping[str, Any]:
        entry: Mapping[str, Any] | None = self.content["weights"]
        if entry is None:
            raise ConfigError(
                f"the training in {self.folder} has not finished: there are no weights yet. {how_to_finish(self.folder)}"
            )
        return entry

    def definition(self) -> dict[str, Any]:
        """Return everything that was known when the training began."""
        return {name: self.content[name] for name in (*IDENTITY, "parts", "training")}

    def _calibrated(self, calibration: Mapping[str, Any]) -> "ModelFolder":
        if calibration.get("weights_sha256") != self.weights_sha256:
            raise ConfigError(
                f"this evaluation was made with other weights than {self.weights} has now; evaluate the model again."
            )
        return self._changed(calibration=json.loads(json.dumps(calibration)))

    def _changed(self, **changes: Any) -> "ModelFolder":
        model = ModelFolder(self.folder, {**self.content, **changes})
        check_content(model.content, self.folder / FILE_NAME)
        model._write()
        return model

    def _write(self) -> None:
        write_checked_json(self.folder / FILE_NAME, self.content)
