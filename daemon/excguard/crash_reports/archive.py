"""Reports in tar and zip archives, as bug trackers and sysdiagnose hand them out.

Members are read one at a time and never unpacked to disk. The `._` files that macOS adds to archives
(AppleDouble: a file's metadata) are not reports and are skipped. tarfile and zipfile take any size that an
archive states; here all sizes are bounded.
"""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

import msgspec

from excguard.crash_reports.unpacking import Unpacked
from excguard.files import suffixes

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MEMBERS = 10_000
"""Reports of an archive that are read."""
MAX_TOTAL = 1 << 30
"""Bytes of all members together that are read: more is in none but a hostile archive."""
MAX_ENTRIES = 100_000
"""Files and directories of a tar archive, of which most are not reports."""
_MAX_DIRECTORY = 4 << 20
_DIRECTORY_SHARE = 4
"""Bytes of a zip archive's directory, or its part of the archive: zipfile takes 15 times as much memory."""
_DIRECTORY_END = 1 << 17
"""Bytes in which zipfile looks for the end of the directory."""
_MAX_TAR_HEADER = 1 << 18
"""Bytes of the headers of a member: long names and attributes, which tarfile reads whole."""


class Member(msgspec.Struct, frozen=True):
    """A member of an archive.

    Attributes:
        name: Its path in the archive.
        data: Its bytes.
        error: Why it could not be read; None when it could.
    """

    name: str
    data: bytes = b""
    error: str | None = None


def is_archive(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a zip, of a tar or of a compressed tar."""
    return start.startswith((b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) or start[257:262] == b"ustar"


def members(file: IO[bytes], most: int) -> Iterator[Member]:
    """The reports in an archive.

    Args:
        file: The archive, seekable.
        most: Bytes of a member that are read.
    """
    import lzma  # noqa: PLC0415 - plain reports do not need it
    import tarfile  # noqa: PLC0415 - likewise
    import zipfile  # noqa: PLC0415 - likewise
    import zlib  # noqa: PLC0415 - likewise

    unreadable = (
        *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error),
        *(EOFError, LookupError, OSError, ValueError, RuntimeError, OverflowError),
    )
    found = _zipped(file, most) if file.read(2) == b"PK" else _tarred(file, most)
    left = MAX_TOTAL
    try:
        for number, member in enumerate(found):
            left -= len(member.data)
            if number >= MAX_MEMBERS or left < 0:
                yield _MORE
                return
            yield member
    except unreadable as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        yield Member("", error=f"the archive cannot be read: {reason[:200]}")


_MORE = Member("", error="more than is read of an archive: unpack it and scan the directory")


def _is_report(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = path.name.startswith("._") or "__MACOSX" in path.parts
    return not hidden and name.lower().endswith(suffixes.IN_ARCHIVES)


def _zipped(file: IO[bytes], most: int) -> Iterator[Member]:
    import zipfile  # noqa: PLC0415 - plain reports do not need it

    size = file.seek(0, io.SEEK_END)
    bounded = Unpacked(file)
    bounded.allow(_DIRECTORY_END + max(_MAX_DIRECTORY, size // _DIRECTORY_SHARE))
    with zipfile.ZipFile(bounded) as archive:
        bounded.allow(size * 2)  # each member has a header and data, which others can share
        for entry in archive.infolist():
            if not _is_report(entry.filename) or entry.is_dir():  # zipfile fails on a name of no characters
                continue
            if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:  # no other has a bound
                yield Member(entry.filename, error="compressed by another method than deflate")
                continue
            with archive.open(entry) as member:
                yield _member(entry.filename, member, most)


def _tarred(file: IO[bytes], most: int) -> Iterator[Member]:
    import tarfile  # noqa: PLC0415 - plain reports do not need it

    file.seek(0)
    unpacked = Unpacked(file, unpack=True)
    unpacked.allow(_MAX_TAR_HEADER)
    with tarfile.open(fileobj=unpacked, mode="r:") as archive:
        for _ in range(MAX_ENTRIES):
            entry = archive.next()
            if entry is None:
                return
            archive.members.clear()  # type: ignore[attr-defined] # tarfile keeps each
            if entry.isreg() and _is_report(entry.name) and (member := archive.extractfile(entry)):
                unpacked.allow(min(entry.size, most) + tarfile.RECORDSIZE)
                yield _member(entry.name, member, most)
            unpacked.allow(_MAX_TAR_HEADER)
    yield _MORE


def _member(name: str, file: IO[bytes], most: int) -> Member:
    data = file.read(most + 1)
    if len(data) > most:
        return Member(name, error=f"larger than {most >> 20} MiB: not a crash report")
    return Member(name, data)
