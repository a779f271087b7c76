# SPDX-License-Identifier: Apache-2.0
"""The ``protocol`` block of a result: how it was made, with what, from which data."""

from pathlib import Path
from typing import Any

from ..core.digests import file_sha256
from ..runs.model_folder import ModelFolder
from ..runs.record import source_revision, versions


def protocol_block(model: ModelFolder, splits: str | Path, **settings: Any) -> dict[str, Any]:
    """Return what the model is, with the digests of weights and splits, versions and the code's revision.

    Args:
        model: that is evaluated.
        splits: folder of the split lists.
        **settings: whatever else decides the result (JSON values).
    """
    block = {
        **{name: model.identity[name] for name in ("method", "contrast", "fold", "seed")},
        "preparation": model.build("preparation").describe(),
        "model": model.definition(),
        "weights_sha256": model.weights_sha256,
        **settings,
    }
    lists = sorted(Path(splits).glob("*.csv"))
    block["splits_sha256"] = {path.name: file_sha256(path) for path in lists}
    block["versions"] = versions()
    block["revision"] = source_revision(12, "-dirty")
    return block
