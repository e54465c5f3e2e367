"""A file for tarfile and zipfile that gives no more bytes than it was allowed to.

Both read into memory what an archive states the size of, with no limit of their own: everything that is not
the content of a member.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_UNPACKED = 8 << 30
"""Bytes of a compressed archive that are unpacked, also to skip them."""
_MAX_XZ_MEMORY = 128 << 20
"""Bytes; `xz -9` needs 65 MiB."""
_PART = 1 << 16


class TooLargeError(OSError):
    """An archive has more in one place than is read of it."""


class Unpacked(io.RawIOBase):
    """Reads from a file, or from what it unpacks to.

    What is unpacked can be sought forward only, which is all that tarfile does.
    """

    def __init__(self, file: IO[bytes], *, unpack: bool = False) -> None:
        """Begin at the start of `file`; it is not closed.

        Args:
            file: The file, seekable.
            unpack: Unpack it where it is compressed by gzip, bzip2 or xz.
        """
        file.seek(0)
        start = file.read(6)
        file.seek(0)
        self._source = _opened(file, start) if unpack else file
        self._packed = self._source is not file
        self._at = 0
        self._left = 0

    def allow(self, size: int) -> None:
        """Allow so many bytes to be read from now on."""
        self._left = size

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is, forward."""
        return True

    def tell(self) -> int:
        """Bytes from the start."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on at `offset`. Raises TooLargeError."""
        if not self._packed:
            self._at = self._source.seek(offset, whence)
            return self._at
        if whence != io.SEEK_SET or offset < self._at:
            raise io.UnsupportedOperation("what is unpacked can be sought forward only")
        while self._at < offset and (skipped := len(self._source.read(min(_PART, offset - self._at)))):
            self._advance(skipped)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read. Raises TooLargeError for more than is allowed."""
        if size > self._left:
            size = self._left + 1
        data = self._source.read(size if size >= 0 else self._left + 1)
        if len(data) > self._left:
            raise TooLargeError("more in one place than is read of an archive")
        self._left -= len(data)
        self._advance(len(data))
        return data

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read into memory."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _advance(self, size: int) -> None:
        self._at += size
        if self._packed and self._at > MAX_UNPACKED:
            raise TooLargeError(f"it unpacks to more than {MAX_UNPACKED >> 30} GiB")


def _opened(file: IO[bytes], start: bytes) -> IO[bytes] | gzip.GzipFile:
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if start.startswith(b"\xfd7zXZ"):
        return io.BufferedReader(_Xz(file))
    return file


class _Xz(io.RawIOBase):
    """As `lzma.LZMAFile`, which has no limit for the dictionary that a file asks for: up to 4 GiB."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._unpacker.eof:
            data = self._file.read(_PART) if self._unpacker.needs_input else b""
            if not data and self._unpacker.needs_input:
                raise EOFError("the compressed file ended before its end mark")
            if found := self._unpacker.decompress(data, len(view)):
                view[: len(found)] = found
                return len(found)
        return 0
