# SPDX-License-Identifier: Apache-2.0
"""The list of all files of a bundle with their SHA-256, so that a damaged or exchanged file is noticed when it is opened.

It lies in the folder itself: it protects against accidents and half copies, not against someone who can change both
file and list; for that, compare the digest of the archive with the one its author published.
"""

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.digests import file_sha256
from ..core.errors import ConfigError, listed
from ..core.files import atomic_write_json

MANIFEST = "manifest.json"
MAX_BYTES = 16 << 20
_NAMED = 10
_SHA256 = re.compile("[0-9a-f]{64}")


def write_manifest(folder: str | Path) -> Path:
    """Write ``manifest.json`` with every file below ``folder`` and return its path."""
    root = Path(folder)
    files = {
        name: {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for name, path in sorted(_present(root).items())
    }
    atomic_write_json(root / MANIFEST, {"version": 1, "files": files})
    return root / MANIFEST


def read_manifest(path: str | Path) -> dict[str, dict[str, Any]]:
    """Return name -> ``{"sha256", "bytes"}``.

    Raises:
        ConfigError: missing, not JSON, not of the expected form, or names that leave the folder.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        content = json.loads(path.read_bytes().decode("utf-8"))
        files = _files_of(content)
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)[:160] or type(error).__name__) from None
    for name in files:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]:
            raise _unreadable(path, f"the name {name[:80]!r} leaves the folder")
    return files


def _files_of(content: Any) -> dict[str, dict[str, Any]]:
    """Return the list of files in the content of a manifest, or raise a ``ValueError`` that says what is not of its form."""
    if not isinstance(content, dict) or set(content) != {"version", "files"}:
        raise ValueError("expected an object with version and files, and nothing else")
    if type(content["version"]) is not int or content["version"] != 1:
        raise ValueError(f"version {str(content['version'])[:40]!r}, expected 1")
    if not isinstance(content["files"], dict):
        raise ValueError("files is not an object")
    for name, entry in content["files"].items():
        if not isinstance(entry, dict) or set(entry) != {"sha256", "bytes"}:
            raise ValueError(f"the entry of {name[:80]!r} does not consist of sha256 and bytes")
        digest, size = entry["sha256"], entry["bytes"]
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise ValueError(f"the sha256 of {name[:80]!r} is not 64 hexadecimal digits")
        if type(size) is not int or size < 0:
            raise ValueError(f"the bytes of {name[:80]!r} are not a whole number of at least 0")
    return content["files"]


def verify_manifest(folder: str | Path) -> None:
    """Return only if the folder holds exactly the files of its manifest, unchanged.

    Raises:
        ConfigError: names missing, changed and additional files.
    """
    root = Path(folder)
    stated, present = read_manifest(root / MANIFEST), _present(root)
    faults = {
        "missing": sorted(set(stated) - set(present)),
        "changed": [name for name in stated if name in present and not _same(present[name], stated[name])],
        "not in the manifest": sorted(set(present) - set(stated)),
    }
    parts = [f"{kind}: {listed(names, _NAMED)}" for kind, names in faults.items() if names]
    if parts:
        raise ConfigError(
            f"{root} is not what its {MANIFEST} says ({'; '.join(parts)}); it could compute something else than its "
            "author tested. Copy or download it again"
        )


def _present(root: Path) -> dict[str, Path]:
    paths = (path for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(root).as_posix(): path for path in paths if path != root / MANIFEST}


def _same(path: Path, entry: dict[str, Any]) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    return bool(path.stat().st_size == entry["bytes"] and file_sha256(path) == entry["sha256"])


def _unreadable(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"{path} cannot be used as a manifest ({reason}), so the files beside it cannot be checked; copy or download "
        "the bundle again"
    )
