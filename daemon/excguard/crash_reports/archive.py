"""Reports in tar and zip archives, as bug trackers and sysdiagnose hand them out.

Members are read one at a time and never unpacked to disk. The `._` files that macOS adds to archives
(AppleDouble: a file's metadata) are not reports and are skipped.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

import msgspec

from excguard.crash_reports import suffixes

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MEMBERS = 10_000
MAX_TOTAL = 1 << 30
"""Bytes of all members together that are read: more is in none but a hostile archive."""


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
    import tarfile  # noqa: PLC0415 - plain reports do not need it
    import zipfile  # noqa: PLC0415 - likewise

    unreadable = (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError)
    found = _zipped(file, most) if file.read(2) == b"PK" else _tarred(file, most)
    left = MAX_TOTAL
    try:
        for number, member in enumerate(found):
            left -= len(member.data)
            if number >= MAX_MEMBERS or left < 0:
                yield Member("", error="more than is read of an archive: unpack it and scan the directory")
                return
            yield member
    except unreadable as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        yield Member("", error=f"the archive cannot be read: {reason[:200]}")


def _is_report(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = path.name.startswith("._") or "__MACOSX" in path.parts
    return not hidden and name.lower().endswith(suffixes.IN_ARCHIVES)


def _zipped(file: IO[bytes], most: int) -> Iterator[Member]:
    import zipfile  # noqa: PLC0415 - plain reports do not need it

    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and _is_report(entry.filename):
                with archive.open(entry) as member:
                    yield _member(entry.filename, member, most)


def _tarred(file: IO[bytes], most: int) -> Iterator[Member]:
    import tarfile  # noqa: PLC0415 - plain reports do not need it

    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:*") as archive:
        for entry in archive:
            if entry.isreg() and _is_report(entry.name) and (member := archive.extractfile(entry)):
                yield _member(entry.name, member, most)


def _member(name: str, file: IO[bytes], most: int) -> Member:
    data = file.read(most + 1)
    if len(data) > most:
        return Member(name, error=f"larger than {most >> 20} MiB: not a crash report")
    return Member(name, data)
