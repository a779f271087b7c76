# SPDX-License-Identifier: Apache-2.0
"""The ``protocol`` block of a result: how it was made, with what, from which data."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from ..core.digests import file_sha256
from ..runs.model_folder import ModelFolder

PACKAGES = ("torch", "monai", "numpy", "scipy", "scikit-image", "nibabel", "pytorch-ignite")


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
    block["versions"] = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    block["revision"] = code_revision()
    return block


def code_revision() -> str | None:
    """Return the git revision of the code, ``-dirty`` if it was changed since; None outside a git checkout."""
    here = Path(__file__).resolve().parents[2]
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
