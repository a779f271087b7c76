# SPDX-License-Identifier: Apache-2.0
"""From what a user names to the folder of a model: a run, a release, or a model that this package carries.

Nothing heavy is imported, so that a name with a typing error is answered at once.
"""

import os
import zipfile
from functools import lru_cache
from pathlib import Path

from ..core.errors import ConfigError, did_you_mean
from ..core.files import expanded
from ..core.resources import PREFERRED_BUNDLE, resource
from .model_folder import FILE_NAME, ModelFolder


@lru_cache(maxsize=1)
def released_models() -> tuple[ModelFolder, ...]:
    """Return the models in the package, restoration first."""
    folders = sorted(path.parent for path in resource("custom/released").glob("*/model.json"))
    models = [ModelFolder.read(folder) for folder in folders]
    return tuple(sorted(models, key=lambda model: (model.bundle != PREFERRED_BUNDLE, model.folder.name)))


def released_model(name: str) -> ModelFolder | None:
    """Return the released model with this name, or None."""
    return next((model for model in released_models() if model.folder.name == name), None)


def model_folder(given: str | Path) -> Path:
    """Return the folder that holds ``model.json``.

    Args:
        given: folder of a run, or of a release (its ``models`` is returned), or the name of a model that ``uad models`` lists.
            A folder goes before a listed model of the same name.

    Raises:
        ConfigError: a file, or neither a folder nor a listed name.

    >>> model_folder("restoration_t2").name
    'restoration_t2'
    """
    folder = expanded(given)
    text = os.fsencode(folder).decode("utf-8", "backslashreplace")
    if folder.is_file():
        remedy = "unpack it and give the folder" if zipfile.is_zipfile(folder) else "give the folder that it lies in"
        raise ConfigError(f"{text} is a file, and a model is a folder (of a run or of a release); {remedy}.")
    for place in (folder, folder / "models"):
        if (place / FILE_NAME).is_file():
            return place
    listed = released_model(str(given))
    if listed is not None:
        return listed.folder
    if not folder.is_dir():
        hint = did_you_mean(str(given), [model.folder.name for model in released_models()])
        raise ConfigError(
            f"{text} does not exist. {hint[:1].upper() + hint[1:]}Give the folder of a trained model or of a release, or the name of a model that "
            "`uad models` lists."
        )
    return folder
