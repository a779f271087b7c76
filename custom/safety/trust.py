# SPDX-License-Identifier: Apache-2.0
"""Bundles that the user trusts although the linter refuses them: their hashes, in the user's configuration folder."""

import json
import os
from pathlib import Path
from typing import Any

from ..atomic import atomic_write_json
from ..errors import ConfigError
from .config_linter import bundle_digest


def trust_file() -> Path:
    """Return the file that holds the hashes."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "uad-brain-mri" / "trusted_bundles.json"


def trusted_hashes(path: Path | None = None) -> dict[str, str]:
    """Return digest -> name of the trusted bundles; none if there is no file.

    Raises:
        ConfigError: the file is damaged.
    """
    path = path or trust_file()
    if not path.is_file():
        return {}
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        return {str(digest): str(name) for digest, name in content.items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}), so no bundle is trusted; delete it to start anew"
        ) from error


def trust(bundle: str | Path, path: Path | None = None) -> str:
    """Remember the present version of a bundle as trusted; return its digest.

    Raises:
        ConfigError: it holds compiled Python files, which the digest does not cover, or the file cannot be written.
    """
    if compiled := [str(found) for found in Path(bundle).rglob("__pycache__")]:
        raise ConfigError(f"{compiled[0]} holds compiled code that nobody can read; delete it, then trust the bundle")
    path = path or trust_file()
    digest = bundle_digest(bundle)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_json(path, {**trusted_hashes(path), digest: Path(bundle).absolute().name})
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; set XDG_CONFIG_HOME to a folder of yours") from error
    return digest
