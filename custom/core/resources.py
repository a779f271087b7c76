# SPDX-License-Identifier: Apache-2.0
"""Where bundles, shared configurations and matrix files lie, in a checkout and in an installed wheel.

Configurations name files by ``bundles/<name>/...`` and ``custom/configs/...``. In a checkout both lie in its root; a wheel
carries bundles and matrix files inside the package, in ``custom/bundles`` and ``custom/matrices``.
"""

from pathlib import Path
from typing import Any

from .errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).resolve().parents[1]
PREFERRED_BUNDLE = "restoration"  # whose released models are taken by themselves; others are for reference


def bundles_root() -> Path:
    """Return the folder that holds one folder per bundle."""
    return _beside("bundles")


def matrix_file(name: str | Path) -> Path:
    """Return the file of a matrix.

    Args:
        name: of a matrix of this package, "demo" or "matrices/demo.json", or the path of another file.

    Raises:
        ConfigError: there is no such matrix.
    """
    own = _beside("matrices")
    places = (Path(name), own / f"{name}.json", own.parent / name)
    known = sorted(path.stem for path in own.glob("*.json"))
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        hint = did_you_mean(Path(name).stem, known, cutoff=0.4)
        raise ConfigError(
            f"there is no matrix {name}; {hint}Give the path of a matrix file or one of {', '.join(known)}."
        )
    return found


def _beside(folder: str) -> Path:
    installed = _PACKAGE / folder
    return installed if installed.is_dir() else _PACKAGE.parent / folder


def bundle_names() -> list[str]:
    """Return the names of the bundles of this package."""
    return sorted(path.parents[1].name for path in bundles_root().glob("*/configs/metadata.json"))


def bundle_folder(name: str | Path) -> Path:
    """Return the folder of a bundle.

    Args:
        name: of a bundle of this package, or the path of another bundle's folder.

    Raises:
        ConfigError: there is no such bundle.
    """
    text = str(name)
    own = bundles_root() / text
    if text in bundle_names():
        return own
    if (Path(name) / "configs" / "metadata.json").is_file():
        return Path(name)
    hint = did_you_mean(text, bundle_names(), cutoff=0.4)
    raise ConfigError(f"there is no bundle {text}; {hint}Known are {', '.join(bundle_names())}.")


def resource(name: str) -> Path:
    """Return the file or folder that a configuration calls ``bundles/...`` or ``custom/...``; another path as it is.

    >>> resource("custom/configs/noise.json").is_file(), resource("bundles/ae_baseline").is_dir()
    (True, True)
    """
    first, _, rest = name.partition("/")
    if first == "bundles" and rest:
        return bundles_root() / rest
    if first == "custom" and rest:
        return _PACKAGE / rest
    return Path(name)


def rooted(config: Any) -> Any:
    """Return ``config`` with the files of its ``%`` macros as absolute paths.

    MONAI's parser looks for the file of ``"%custom/configs/noise.json::simplex"`` below the current folder; with absolute
    paths a configuration can be read from any folder.
    """
    if isinstance(config, dict):
        return {key: rooted(item) for key, item in config.items()}
    if isinstance(config, list):
        return [rooted(item) for item in config]
    if isinstance(config, str) and config.startswith(("%bundles/", "%custom/")):
        file, separator, key = config[1:].partition("::")
        return f"%{resource(file).as_posix()}{separator}{key}"
    return config
