# SPDX-License-Identifier: Apache-2.0
"""Several releases in one process, for example in one MONAI Label server.

A release carries the modules of ``custom`` that it needs. In one process there is one package ``custom``, that of the
release opened first; a second release finds there what both need and adds its other modules to it. Where both have a
module of one name, it must be the same, byte by byte: else the maps of the second would silently be made by the code of the first.
"""

import importlib
from pathlib import Path

from ..core.errors import ConfigError, listed

_NAMED = 3


def join(bundle_root: str | Path) -> Path:
    """Make the modules of a release importable beside those that are there, and return its folder.

    Raises:
        ConfigError: no release there, or its modules differ from those that this process has.
    """
    root = Path(bundle_root)
    own = root / "custom"
    if not (own / "__init__.py").is_file() or not (root / "models").is_dir():
        raise ConfigError(
            f"there is no release in {root.absolute()} (no custom/ and models/ there); add --bundle_root RELEASE, the folder "
            "that holds configs/ and models/."
        )
    package = importlib.import_module(__name__.split(".")[0])
    places = [Path(place) for place in package.__path__]
    if any(place.resolve() == own.resolve() for place in places):
        return root
    _require_equal(own, places)
    for init in sorted(own.rglob("__init__.py")):
        parts = init.parent.relative_to(own).parts
        name = ".".join([package.__name__, *parts])
        try:
            found = importlib.import_module(
                name
            ).__path__  # its parents are extended already: it is found here or there
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] == package.__name__:
                raise
            continue  # made for training: what it needs is not installed here, so that no release can use it
        if str(init.parent) not in found:
            found.append(str(init.parent))
    return root


def _require_equal(own: Path, places: list[Path]) -> None:
    different = []
    for path in sorted(own.rglob("*.py")):
        name = path.relative_to(own)
        other = next((place / name for place in places if (place / name).is_file()), None)
        if other is not None and other.read_bytes() != path.read_bytes():
            different.append(name.as_posix())
    if different:
        raise ConfigError(
            f"{own.parent} was released with another version of custom than this process uses ({places[0]}): "
            f"{listed(different, _NAMED)} differ. Run it from a folder that holds no other custom, and serve only "
            "releases of one version in one server."
        )
