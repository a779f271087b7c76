# SPDX-License-Identifier: Apache-2.0
"""Take the encoder of a finished pre-training into a conditioned network, and note whose it is.

A pre-training is a run folder with a ``model.json`` like any other, so its encoder needs no file of its own. It must have
seen the same scans: an encoder of another fold has seen scans that are held out here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from ..core.description import describe
from ..core.digests import file_sha256
from ..core.errors import ConfigError
from ..models.conditioned import ConditionedDiffusion
from ..models.weights import read_state_dict, state_difference
from ..runs.model_content import differences
from ..runs.model_folder import ModelFolder

_PLACES = ("spark.encoder.", "bare.", "encoder.")
_UNTRAINED = "fc."  # no pre-training has the last layer


@dataclass(frozen=True)
class PretrainedEncoder:
    """Weights of an encoder, or nothing.

    Attributes:
        origin: method, digest of the weights and masks of the pre-training; None without one.
        state: state dict of the encoder, empty without one.

    >>> here = {"encoder": None, "preparation": None, "contrast": "t2", "dataset": "ixi", "fold": 0, "cases": []}
    >>> PretrainedEncoder.read(None, **here)
    PretrainedEncoder(origin=None, state={})
    >>> PretrainedEncoder.read(None, **here, encoder_training="frozen")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    custom.core.errors.ConfigError: encoder_training 'frozen' would keep an encoder that has learned nothing; ...
    """

    origin: Mapping[str, Any] | None = None
    state: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        folder: str | Path | None,
        *,
        encoder: Any,
        preparation: Any,
        contrast: str,
        dataset: str,
        fold: int,
        cases: Sequence[Mapping[str, Any]],
        encoder_training: str = "finetune",
    ) -> "PretrainedEncoder":
        """Read the encoder of a pre-training.

        Args:
            folder: run folder of the pre-training; None for an encoder that starts from scratch.
            encoder: recipe of the encoder that is wanted.
            preparation, contrast, dataset, fold, cases: of the training here.
            encoder_training: what of it is trained here, see :class:`~custom.models.conditioned.ConditionedDiffusion`.

        Raises:
            ConfigError: an encoder that has learned nothing would be frozen; no finished pre-training, or one of another encoder, contrast, data set, fold, list or preparation.
        """
        if folder is None:
            if encoder_training != "finetune":
                raise ConfigError(
                    f"encoder_training {encoder_training!r} would keep an encoder that has learned nothing; give the run of its "
                    "pre-training as --encoder_dir, or take encoder_training finetune."
                )
            return cls()
        model = ModelFolder.read(folder, bundle="cddpm")
        parts, training = model.content["parts"], model.content["training"]
        if "encoder" not in parts or "cell_mask" not in parts:
            raise ConfigError(
                f"{folder} holds no pre-trained encoder but a model of {model.method}; give the run of spark_pretraining.json."
            )
        wanted = {"contrast": contrast, "dataset": dataset, "fold": fold, "encoder": describe(encoder),
                  "preparation": describe(preparation)}  # fmt: skip
        found = {"contrast": model.contrast, "dataset": model.dataset, "fold": model.fold, "encoder": parts["encoder"],
                 "preparation": parts["preparation"]}  # fmt: skip
        changed = next(differences(found, wanted), None)
        if changed is not None:
            raise ConfigError(
                f"the encoder in {folder} was pre-trained for something else: {changed} here. Pre-train one with the settings "
                "of this training."
            )
        if training.get("cases_sha256") != cases_sha256(cases):
            raise ConfigError(
                f"the encoder in {folder} was pre-trained on other scans of {dataset}, fold {fold}, which may be held out "
                "here; the lists of the data set have changed since. Pre-train it again."
            )
        if file_sha256(model.weights) != model.weights_sha256:
            raise ConfigError(f"{model.weights} is not the file that {folder} was trained to; copy the folder again.")
        whole = read_state_dict(model.weights)
        place = next(place for place in _PLACES if any(name.startswith(place) for name in whole))
        state = {name.removeprefix(place): value for name, value in whole.items() if name.startswith(place)}
        origin = {"method": model.method, "weights_sha256": model.weights_sha256, "cell_mask": model.build("cell_mask")}
        return cls(origin, state)

    def into(self, network: ConditionedDiffusion) -> ConditionedDiffusion:
        """Fill the encoder of ``network``, all but its last layer; return ``network``."""
        if self.origin is None:
            return network
        own = network.encoder.state_dict()
        difference = state_difference({k: v for k, v in own.items() if not k.startswith(_UNTRAINED)}, self.state)
        if difference:
            raise ConfigError(f"the pre-trained encoder is another network: {difference}.")
        network.encoder.load_state_dict({**own, **self.state})
        return network


def cases_sha256(cases: Sequence[Mapping[str, Any]]) -> str:
    """Return a digest of the ids of scans, whatever their order."""
    return sha256(json.dumps(sorted(str(case["case_id"]) for case in cases)).encode()).hexdigest()
