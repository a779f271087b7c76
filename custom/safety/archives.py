# SPDX-License-Identifier: Apache-2.0
"""Unpack a bundle archive (zip) that may come from anyone: the whole list is judged before the first byte is written.

Refused: absolute names, ``..``, drive letters, backslashes, links and devices, encrypted entries, two entries of one
name, too many files, too many bytes, bytes that grow by more than a factor, a manifest that does not fit. The files
appear together under the final name, or not at all. Most archives hold one folder with everything in it: if the manifest lies
there, that folder's content is the bundle.
"""

import hashlib
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import ConfigError
from .manifest import MANIFEST, verify_manifest

_BLOCK = 1 << 20
_SMALL = 1 << 20


@dataclass(frozen=True)
class Limits:
    """How large an archive may be: number of files, bytes unpacked, bytes unpacked per packed byte, folder depth."""

    files: int = 10_000
    nbytes: int = 8 << 30
    ratio: float = 200.0
    depth: int = 32


def safe_extract(
    archive: str | Path,
    folder: str | Path,
    limits: Limits | None = None,
    sha256: str | None = None,
    require_manifest: bool = True,
) -> Path:
    """Unpack ``archive`` into the new folder ``folder`` and return it.

    Args:
        archive: zip file.
        folder: must not exist; nothing is left there if anything is wrong.
        limits: see :class:`Limits`.
        sha256: digest of the archive that its author published; None does not compare.
        require_manifest: the archive must hold a ``manifest.json`` for all its files, at its top or in its only folder.

    Raises:
        ConfigError: names the entry and the reason.
    """
    archive, folder, limits = Path(archive), Path(folder), limits or Limits()
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} exists already and is not written over; choose a new folder for {archive.name}")
    try:
        if sha256 is not None and _digest(archive) != sha256.lower():
            raise ConfigError(
                f"{archive} is not the file it should be (its sha256 differs); get it from its author again"
            )
        with zipfile.ZipFile(archive) as opened:
            entries = _judged(opened.infolist(), archive, limits)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as temporary:
                root = Path(temporary) / "bundle"
                root.mkdir()
                _unpack(opened, entries, root, archive, limits)
                root = _bundle_root(root)
                if require_manifest or (root / MANIFEST).is_file():
                    verify_manifest(root)
                shutil.move(root, folder)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{archive} cannot be unpacked ({reason}); copy or download it again") from None
    except (ValueError, UnicodeError, OverflowError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{archive} is damaged ({error}); copy or download it again") from None
    return folder


def _judged(entries: Sequence[zipfile.ZipInfo], archive: Path, limits: Limits) -> list[zipfile.ZipInfo]:
    def refuse(entry: zipfile.ZipInfo, why: str) -> ConfigError:
        return ConfigError(
            f"{archive}: the entry {entry.filename[:120]!r} {why}; nothing was unpacked, do not trust it"
        )

    if len(entries) > limits.files:
        raise ConfigError(f"{archive} holds {len(entries)} files, more than the limit of {limits.files}")
    if (total := sum(entry.file_size for entry in entries)) > limits.nbytes:
        raise ConfigError(f"{archive} would fill {total} bytes, more than the limit of {limits.nbytes}")
    names: set[str] = set()
    for entry in entries:
        raw = entry.orig_filename
        parts = PurePosixPath(entry.filename).parts
        if raw.startswith(("/", "\\")) or "\\" in raw or "\0" in raw or ".." in parts or not parts or ":" in raw:
            raise refuse(entry, "would be written outside the folder")
        if len(parts) > limits.depth:
            raise refuse(entry, f"lies more than {limits.depth} folders deep")
        if (kind := stat.S_IFMT(entry.external_attr >> 16)) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refuse(entry, "is a link" if kind == stat.S_IFLNK else "is no plain file")
        if entry.flag_bits & 0x1:
            raise refuse(entry, "is encrypted")
        if (name := "/".join(parts).casefold()) in names:
            raise refuse(entry, "appears twice")
        names.add(name)
        if entry.file_size > _SMALL and entry.file_size > limits.ratio * max(entry.compress_size, 1):
            raise refuse(entry, f"grows by more than {limits.ratio:g} when it is unpacked")
    return [entry for entry in entries if not entry.is_dir()]


def _unpack(opened: zipfile.ZipFile, entries: list[zipfile.ZipInfo], root: Path, archive: Path, limits: Limits) -> None:
    left = limits.nbytes
    for entry in entries:
        target = root.joinpath(*PurePosixPath(entry.filename).parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(entry) as source, target.open("xb") as out:
            while block := source.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise ConfigError(f"{archive} unpacks to more than {limits.nbytes} bytes, other than it says")
                out.write(block)


def _bundle_root(root: Path) -> Path:
    """Return the only folder in ``root`` if it is the one that holds the manifest, else ``root``."""
    inside = list(root.iterdir())
    return inside[0] if len(inside) == 1 and (inside[0] / MANIFEST).is_file() else root


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
