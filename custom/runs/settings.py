# SPDX-License-Identifier: Apache-2.0
"""A trained model describes itself: the settings it was trained with lie beside its checkpoints.

Evaluation and inference read them, so ``--output_dir`` alone is enough to use a model and a network of another shape
or contrast cannot be built by accident.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError
from ..core.files import atomic_write_json, read_json

FILE_NAME = "settings.json"


def save_settings(output_dir: str | Path, settings: Mapping[str, Any], write: bool = True) -> dict[str, Any]:
    """Write ``settings`` (JSON values) to ``output_dir/settings.json`` and return them.

    Args:
        output_dir: of the run; made if it is missing.
        settings: what the model depends on.
        write: False on all processes of a distributed run but the first, which only compare.

    Raises:
        ConfigError: the folder already holds a model that was trained with other settings.
    """
    path = Path(output_dir) / FILE_NAME
    saved: dict[str, Any] = json.loads(json.dumps(settings))
    if path.exists():
        known = read_json(path, "choose another --output_dir or remove the folder.")
        changed = sorted(key for key in saved if known.get(key, saved[key]) != saved[key])
        if changed:
            was = ", ".join(f"{key} was {known[key]!r} and is {saved[key]!r}" for key in changed)
            raise ConfigError(
                f"{path.parent} holds a model trained with other settings ({was}); choose another --output_dir or "
                "remove the folder."
            )
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_json(path, saved)
    return saved


def trained_settings(output_dir: str | Path) -> dict[str, Any]:
    """Return the settings of the model in ``output_dir``.

    Raises:
        ConfigError: there is no trained model.
    """
    path = Path(output_dir) / FILE_NAME
    if not path.is_file():
        raise ConfigError(
            f"no trained model in {path.parent} ({FILE_NAME} is missing); run the training workflow with the same "
            "--output_dir first, or point --output_dir at a finished run."
        )
    return read_json(path, "copy the model again, or train it again.")


def require_trained_with(trained: Mapping[str, Any], **used: Any) -> None:
    """Refuse parts that a model was not trained with, for example another noise.

    Args:
        trained: settings of the model; what they do not know is not compared.
        **used: setting -> its value now.

    Raises:
        ConfigError: a value differs.
    """
    for name, value in json.loads(json.dumps(used)).items():
        if trained.get(name, value) != value:
            raise ConfigError(
                f"the model was trained with {name} {trained[name]} and would be used with {value}; its output would mean "
                f"nothing. Give the same --{name} as in training."
            )
