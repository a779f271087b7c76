# SPDX-License-Identifier: Apache-2.0
"""Files that prove their content: whatever this package writes and reads again carries a SHA-256, checked at each reading.

JSON objects carry it as their last entry, :data:`CONTENT_KEY`, over all the others (:func:`write_checked_json`,
:func:`read_checked_json`). Other files end in a line with it (:func:`write_sealed`, :func:`read_sealed`); what it is
computed over includes the name that the file is asked for by, so a file in another's place is noticed too. Both are
written whole or not at all. A fault is a :class:`DamagedFileError`, which callers that can make the file again catch.
"""

import hashlib
import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .files import atomic_write_bytes, atomic_write_json, read_json

CONTENT_KEY = "content_sha256"
_SEAL = b"\nsha256 "
_SEAL_BYTES = len(_SEAL) + 64 + 1


class DamagedFileError(ConfigError):
    """A file of this package is not what was written (a flipped bit, a cut, another file in its place).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.json"
    ...     write_checked_json(path, {"fold": 0})
    ...     path.write_text(path.read_text().replace('"fold": 0', '"fold": 1')) > 0
    ...     try:
    ...         read_checked_json(path, "train again.")
    ...     except DamagedFileError as error:
    ...         print(str(error).removeprefix(folder)[1:])
    True
    model.json was changed after it was written (its digest differs); train again.
    """


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def content_sha256(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON values; the order of keys and an entry :data:`CONTENT_KEY` do not matter.

    >>> content_sha256({"a": 1, "b": 2}) == content_sha256({"b": 2, "a": 1}) != content_sha256({"a": 2, "b": 1})
    True
    """
    plain = {key: item for key, item in value.items() if key != CONTENT_KEY}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def with_digest(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values, as they look when they are read again, with their digest as last entry."""
    plain: dict[str, Any] = json.loads(json.dumps({key: item for key, item in value.items() if key != CONTENT_KEY}))
    return {**plain, CONTENT_KEY: content_sha256(plain)}


def write_checked_json(path: str | Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with its digest; NaN and infinity are refused."""
    atomic_write_json(path, with_digest(value))


def read_checked_json(path: str | Path, remedy: str, former: Set[str] = frozenset()) -> dict[str, Any]:
    """Return a JSON object written by :func:`write_checked_json`, without the digest.

    Args:
        path: the file.
        remedy: end of the message if it cannot be used.
        former: keys of such a file of versions that wrote no digest; one with exactly these is taken without.

    Raises:
        DamagedFileError: no file, no JSON object, no digest, or another content than was written.
    """
    try:
        value = read_json(path, remedy)
    except ConfigError as error:
        raise DamagedFileError(str(error)) from error
    known = value.pop(CONTENT_KEY, None)
    if known is None and former and set(value) == former:
        return value
    if known is None:
        raise DamagedFileError(f"{path} carries no digest ({CONTENT_KEY}), so it may be damaged; {remedy}")
    try:
        same = known == content_sha256(value)
    except RecursionError:
        same = False
    if not same:
        raise DamagedFileError(f"{path} was changed after it was written (its digest differs); {remedy}")
    return value


def read_own_json(path: str | Path, remedy: str) -> dict[str, Any]:
    """Return a JSON object that a user may have written or changed: checked where it carries a digest, which is left out.

    Args:
        path: the file.
        remedy: end of the message if it cannot be used.

    Raises:
        ConfigError: no file, no JSON object.
        DamagedFileError: another content than was written.
    """
    value = read_json(path, remedy)
    if CONTENT_KEY not in value:
        return value
    return read_checked_json(path, f"if you changed it yourself, take the entry {CONTENT_KEY} out of it; else {remedy}")


def write_sealed(path: str | Path, data: bytes, name: str) -> str:
    """Write ``data`` and a last line with its digest; return the digest.

    Args:
        path: the file; its folder must exist.
        data: content.
        name: what the content is of (a key, a case); the same is needed to read it.
    """
    digest = _digest(data, name)
    atomic_write_bytes(path, data + _SEAL + digest.encode() + b"\n")
    return digest


def read_sealed(path: str | Path, name: str, remedy: str, digest: str | None = None) -> bytes:
    """Return the content of a file written by :func:`write_sealed`.

    Args:
        path: the file.
        name: as it was written with.
        remedy: end of the message if it cannot be used.
        digest: that :func:`write_sealed` returned, where it is known.

    Raises:
        DamagedFileError: no such file, or not what was written.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DamagedFileError(f"{path} cannot be read: {error.strerror}; {remedy}") from error
    content, seal = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    found = _digest(content, name)
    if seal != _SEAL + found.encode() + b"\n":
        raise DamagedFileError(f"{path} is damaged, or another file in its place (its digest differs); {remedy}")
    if digest is not None and digest != found:
        raise DamagedFileError(f"{path} is whole but was replaced by a file of another run; {remedy}")
    return content


def _digest(data: bytes, name: str) -> str:
    digest = hashlib.sha256(f"{name}\n".encode("utf-8", "surrogateescape"))
    digest.update(data)
    return digest.hexdigest()
