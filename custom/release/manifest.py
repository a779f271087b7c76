# SPDX-License-Identifier: Apache-2.0
"""The list of all files of a bundle with their SHA-256, so that a damaged or exchanged file is noticed when it is opened.

It lies in the folder itself: it protects against accidents and half copies, not against someone who can change both
file and list; for that, compare the digest of the archive with the one its author published.
"""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema

from ..core.errors import ConfigError
from ..core.files import atomic_write_json

MANIFEST = "manifest.json"
MAX_BYTES = 16 << 20
_NAMED = 10
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["version", "files"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": 1},
        "files": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["sha256", "bytes"],
                "additionalProperties": False,
                "properties": {
                    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    "bytes": {"type": "integer", "minimum": 0},
                },
            },
        },
    },
}


def write_manifest(folder: str | Path) -> Path:
    """Write ``manifest.json`` with every file below ``folder`` and return its path."""
    root = Path(folder)
    files = {
        name: {"sha256": _digest(path), "bytes": path.stat().st_size} for name, path in sorted(_present(root).items())
    }
    atomic_write_json(root / MANIFEST, {"version": 1, "files": files})
    return root / MANIFEST


def read_manifest(path: str | Path) -> dict[str, dict[str, Any]]:
    """Return name -> ``{"sha256", "bytes"}``.

    Raises:
        ConfigError: missing, not JSON, not as the schema says, or names that leave the folder.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        content = json.loads(path.read_bytes().decode("utf-8"))
        jsonschema.validate(content, SCHEMA)
    except jsonschema.ValidationError as error:
        raise _unreadable(path, error.message[:160]) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)[:160] or type(error).__name__) from None
    files: dict[str, dict[str, Any]] = content["files"]
    for name in files:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]:
            raise _unreadable(path, f"the name {name[:80]!r} leaves the folder")
    return files


def verify_manifest(folder: str | Path) -> None:
    """Return only if the folder holds exactly the files of its manifest, unchanged.

    Raises:
        ConfigError: names missing, changed and additional files.
    """
    root = Path(folder)
    listed, present = read_manifest(root / MANIFEST), _present(root)
    changed = [name for name in listed if name in present and not _same(present[name], listed[name])]
    faults = {
        "missing": sorted(set(listed) - set(present)),
        "changed": changed,
        "not in the manifest": sorted(set(present) - set(listed)),
    }
    told = [f"{kind}: {_listed(names)}" for kind, names in faults.items() if names]
    if told:
        raise ConfigError(
            f"{root} is not what its {MANIFEST} says ({'; '.join(told)}); it could compute something else than its "
            "author tested. Copy or download it again"
        )


def _present(root: Path) -> dict[str, Path]:
    paths = (path for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(root).as_posix(): path for path in paths if path != root / MANIFEST}


def _same(path: Path, entry: dict[str, Any]) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    return bool(path.stat().st_size == entry["bytes"] and _digest(path) == entry["sha256"])


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _unreadable(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"{path} cannot be used as a manifest ({reason}), so the files beside it cannot be checked; copy or download "
        "the bundle again"
    )
