# SPDX-License-Identifier: Apache-2.0
"""The healthy scans of several data sets or contrasts as one datalist, for example real and synthetic ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.errors import ConfigError
from ..preparation.prepare import Preparation
from .cases import Case, datalist
from .datasets import get_dataset
from .gate import gate_splits


def mixed_datalist(
    sources: Sequence[Mapping[str, str]],
    split: str,
    contrast: str,
    fold: int,
    preparation: Preparation,
    cache_dir: str | Path | None = None,
    workers: int = 1,
) -> list[Case]:
    """Return the prepared scans of one split of every source, one source after the other.

    Each of ``sources`` is ``{"data_root": folder, "dataset": name}``, and ``"contrast"`` where it is another than
    ``contrast``; see :func:`.cases.datalist` for the others.

    Raises:
        ConfigError: an entry that is no source, a data set with patients.
        DataError: faulty lists or scans.
    """
    cases: list[Case] = []
    for source in sources:
        given = set(source) - {"contrast"}
        if given != {"data_root", "dataset"} or not get_dataset(source["dataset"], source["data_root"]).healthy:
            raise ConfigError(
                "a source of healthy scans is {'data_root': folder, 'dataset': name of a healthy data set}, and 'contrast' "
                f"where it is another than the model's, got {dict(source)}."
            )
        gate_sources([source], contrast, fold)
        root, name = source["data_root"], source["dataset"]
        cases += datalist(root, name, split, source.get("contrast", contrast), fold, preparation, cache_dir, workers)
    return cases


def gate_sources(sources: Sequence[Mapping[str, str]], contrast: str, fold: int) -> None:
    """Refuse faulty lists of any source before anything is written."""
    for source in sources:
        seen = source.get("contrast", contrast)
        gate_splits(source["data_root"], source["dataset"], seen, fold, parts=["train", "val"])
