# SPDX-License-Identifier: Apache-2.0
"""Every module of this folder with a tuple ``DECLARATIONS`` is found by itself: a new data set is one file."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from ...core.errors import ConfigError
from .base import DatasetDeclaration


def _declared() -> Mapping[str, DatasetDeclaration]:
    found: dict[str, DatasetDeclaration] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name != "base"):
        for declaration in importlib.import_module(f"{__name__}.{module}").DECLARATIONS:
            if declaration.name in found:
                raise ConfigError(f"two data sets are called {declaration.name!r}; the second is in {module}.py")
            found[declaration.name] = declaration
    return MappingProxyType(found)


DATASETS = _declared()


def get_dataset(name: str) -> DatasetDeclaration:
    """Return the declaration called ``name``; an unknown name raises a ``ConfigError`` with the closest known one."""
    if name in DATASETS:
        return DATASETS[name]
    close = difflib.get_close_matches(str(name).lower(), DATASETS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ConfigError(f"no data set is called {name!r}; {hint}known: {', '.join(sorted(DATASETS))}")


__all__ = ["DATASETS", "DatasetDeclaration", "get_dataset"]
