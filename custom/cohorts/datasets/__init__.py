# SPDX-License-Identifier: Apache-2.0
"""Every module of this folder with a tuple ``DECLARATIONS`` is found by itself: a new data set is one file.

A data set that only one data root knows stands in its ``dataset.json``, see :mod:`custom.cohorts.datasets.own`.
"""

import difflib
import importlib
import json
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ...core.errors import ConfigError
from .base import DatasetDeclaration
from .own import own_datasets


def _declared() -> Mapping[str, DatasetDeclaration]:
    found: dict[str, DatasetDeclaration] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name not in ("base", "own")):
        for declaration in importlib.import_module(f"{__name__}.{module}").DECLARATIONS:
            if declaration.name in found:
                raise ConfigError(f"two data sets are called {declaration.name!r}; the second is in {module}.py")
            found[declaration.name] = declaration
    return MappingProxyType(found)


DATASETS = _declared()


def known_datasets(data_root: str | Path) -> Mapping[str, DatasetDeclaration]:
    """Return the built-in data sets and those that ``data_root/dataset.json`` declares.

    Raises:
        ConfigError: the file is damaged, or declares a name that is built in.
    """
    own = own_datasets(data_root)
    if taken := sorted(set(own) & set(DATASETS)):
        raise ConfigError(f"dataset.json in {data_root} declares {', '.join(taken)}, which is built in; rename it.")
    return {**DATASETS, **own}


def get_dataset(name: str, data_root: str | Path) -> DatasetDeclaration:
    """Return the declaration of a built-in data set, or of one in ``data_root/dataset.json``.

    Raises:
        ConfigError: there is none; the sentence names the closest known one.
    """
    known = known_datasets(data_root)
    if name in known:
        return known[name]
    close = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    if str(name).startswith("planted_"):
        hint = "planted lesions are made by `uad plant`, which declares them; "
    healthy = (Path(data_root) / "Train" / str(name)).is_dir()
    entry = json.dumps({"datasets": [{"name": str(name), "healthy": healthy}]})
    raise ConfigError(
        f"no data set is called {name!r}; {hint}known: {', '.join(sorted(known))}. A data set of your own is declared in "
        f"{Path(data_root) / 'dataset.json'}: {entry}"
    )


def tuned_on(name: str, tuning_sets: Mapping[str, str] | None, data_root: str | Path) -> str:
    """Return the data set whose labelled scans give the thresholds for the test set ``name``; "" if none does.

    Without an entry in ``tuning_sets`` a test set is tuned on its own val list, unless it is declared to have none.
    """
    itself = name if "val" in get_dataset(name, data_root).split_files else ""
    return (tuning_sets or {}).get(name, itself)


__all__ = ["DATASETS", "DatasetDeclaration", "get_dataset", "known_datasets", "tuned_on"]
