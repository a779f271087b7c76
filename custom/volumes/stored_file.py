# SPDX-License-Identifier: Apache-2.0
"""A file read once, from its first to its very last byte: plain or gzipped, with its SHA-256 taken on the way.

A gzip stream proves its content only at its end, where checksum and length stand; a reader that stops at the last voxel
never gets there, and one flipped bit in twenty then gives other voxels without a word. :meth:`StoredFile.finish` goes on to
the end: nothing may follow the voxels, neither in the stream nor behind it. A bomb stops at the first byte too many.
"""

import hashlib
import os
import stat
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ..core.errors import DataError

_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_POINTERS = (
    (b"version https://git-lfs", "not-downloaded", "is a Git LFS pointer (run: git lfs pull)"),
    (b"/annex/objects/", "not-downloaded", "is a git-annex pointer (run: datalad get, or git annex get)"),
    (b"PK\x03\x04", "archive", "is a ZIP archive"),
    (b"7z\xbc\xaf", "archive", "is a 7-Zip archive"),
    (b"Rar!", "archive", "is a RAR archive"),
    (b"BZh", "archive", "is compressed by bzip2"),
    (b"\xfd7zXZ", "archive", "is compressed by xz"),
    (b"(\xb5/\xfd", "archive", "is compressed by Zstandard"),
)
_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")


def name_of(path: Path) -> str:
    r"""Return a file's name as text that can be printed; bytes that are no UTF-8 become ``\xNN``."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


def check_regular(path: Path, case: str) -> None:
    """Raise a ``DataError`` unless ``path`` is a regular file with a content that may be a scan."""
    with _opened(path, case) as file:
        _check_start(file.read(512), path, case)


def _opened(path: Path, case: str) -> BinaryIO:
    """Open a regular file; a pipe is never opened, which could wait for ever."""
    name = name_of(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink() and ".git/annex" in os.readlink(path):
            raise DataError.of(
                "not-downloaded",
                f"{name} is a git-annex link without content (run: datalad get, or git annex get)",
                case,
            ) from error
        what = "is a link to a file that does not exist" if path.is_symlink() else f"cannot be read ({error.strerror})"
        raise DataError.of("unreadable", f"{name} {what}", case) from error
    if stat.S_ISDIR(mode):
        raise DataError.of("not-a-file", f"{name} is a directory", case)
    if not stat.S_ISREG(mode):
        raise DataError.of("not-a-file", f"{name} is a pipe, socket or device", case)
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError.of("unreadable", f"{name} cannot be read ({error.strerror})", case) from error


def _check_start(start: bytes, path: Path, case: str) -> None:
    name = name_of(path)
    if not start:
        raise DataError.of("empty-file", f"{name} is an empty file", case)
    for magic, code, what in _POINTERS:
        if start.startswith(magic) or (b".git" + magic in start and b"annex" in magic):  # a link checked out as text
            raise DataError.of(code, f"{name} {what}", case)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGES):
        raise DataError.of("web-page", f"{name} is a web page, not a scan", case)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"[{")):
        raise DataError.of("web-page", f"{name} is JSON text, as a server answers instead of a file, not a scan", case)


class StoredFile:
    """A regular file that is unpacked step by step; errors begin with ``case``.

    Attributes:
        zipped: whether the content is gzipped; decided by the content.
        sha256: of the stored bytes, after :meth:`finish`.

    >>> import gzip
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "scan.nii.gz")
    ...     _ = path.write_bytes(gzip.compress(b"voxels"))
    ...     with StoredFile(path, "case1") as file:
    ...         content, digest = bytes(file.read(6)), file.finish()
    >>> content, file.zipped, digest == file.sha256
    (b'voxels', True, True)
    """

    def __init__(self, path: Path, case: str) -> None:
        self.path, self.case, self.sha256 = path, case, ""
        self._file = _opened(path, case)
        self._digest = hashlib.sha256()
        self._waiting = b""
        try:
            self._next_block()
            _check_start(self._waiting[:512], path, case)
        except DataError:
            self._file.close()
            raise
        self.zipped = self._waiting.startswith(_GZIP)
        self._member: Any = zlib.decompressobj(31) if self.zipped else None

    def __enter__(self) -> "StoredFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def read(self, size: int) -> bytearray:
        """Return the next ``size`` unpacked bytes, or fewer at the end of the file.

        Raises:
            DataError: (code "damaged") the compressed data are broken.
        """
        found = bytearray()
        while len(found) < size and (self._waiting or self._next_block()):
            found += self._unpacked(size - len(found))
        return found

    def finish(self) -> str:
        """Read to the end and return the SHA-256 of the stored bytes.

        Raises:
            DataError: something follows what was read ("surplus-bytes"), or the end is missing or does not agree with the
                checksum and length that it states ("damaged").
        """
        if self.read(1):
            raise DataError.of("surplus-bytes", f"{name_of(self.path)} goes on behind its last voxel", self.case)
        if self.zipped and not self._member.eof:
            raise self._damaged("the end of the compressed data is missing")
        self.sha256 = self._digest.hexdigest()
        return self.sha256

    def _next_block(self) -> bool:
        try:
            block = self._file.read(_BLOCK)
        except OSError as error:
            raise DataError.of(
                "unreadable", f"{name_of(self.path)} cannot be read ({error.strerror})", self.case
            ) from error
        self._digest.update(block)
        self._waiting += block
        return bool(block)

    def _unpacked(self, limit: int) -> bytes:
        if not self.zipped:
            part, self._waiting = self._waiting[:limit], self._waiting[limit:]
            return part
        if self._member.eof:
            if len(self._waiting) < 2:
                self._next_block()
            if not self._waiting.startswith(_GZIP):
                if self._waiting.strip(b"\0"):
                    what = f"{name_of(self.path)} goes on behind the end of its compressed data"
                    raise DataError.of("surplus-bytes", what, self.case)
                self._waiting = b""  # padding with zeros, as tapes leave it
                return b""
            self._member = zlib.decompressobj(31)
        try:
            part = self._member.decompress(self._waiting, limit)
        except zlib.error as error:
            raise self._damaged(str(error)) from error
        self._waiting = self._member.unconsumed_tail or self._member.unused_data
        return bytes(part)

    def _damaged(self, reason: str) -> DataError:
        return DataError.of("damaged", f"{name_of(self.path)} is truncated or damaged ({reason})", self.case)
