"""Reports of the library that excguard inserts into programs: `native/insertion.h`, in bytes.

Nothing here calls the kernel. A report comes from another program, which may be a faulty or a hostile one:
every length and count is checked before it is used.
"""

import struct
import uuid
from typing import Final

from excguard.knowledge.record import Record
from excguard.mach.rendezvous.message import HEADER, MalformedError, Sender
from excguard.native import lib

# Behind the header: version, total length, token, flags before and after, result, dropped, number of images.
_REPORT: Final = struct.Struct("=IIQIIiII")
_IMAGE: Final = struct.Struct("=IIQQ16s")  # entry size, length of the path, load address, size, UUID

RECEIVE_SIZE: Final = int(lib.EXCGUARD_INSERTION_MAX_MESSAGE) + 256
"""Room for the longest report and its trailer, and for more, so that a longer one still has a sender."""


class Image(Record):
    """A file that is mapped into a process.

    Attributes:
        path: the file.
        address: where its header is.
        size: bytes from there to the end of its last segment.
        uuid: of the build, in Apple's spelling; empty when it has none.
    """

    path: str
    address: int
    size: int
    uuid: str


class InsertionReport(Record):
    """What the library reports.

    Attributes:
        sender: the process that it is loaded into.
        token: of the launch that the process belongs to.
        start: whether it is the first report of a program; its first image is the program then.
        flags_before: the task's flags when the library was loaded.
        flags_after: its flags now.
        result: ``KERN_SUCCESS``, or the error of setting them.
        dropped: reports of this process that could not be sent before.
        images: more of its images.
    """

    sender: Sender
    token: int
    start: bool
    flags_before: int
    flags_after: int
    result: int
    dropped: int
    images: tuple[Image, ...]


SETTLE: Final = int(lib.EXCGUARD_INSERTION_START) ^ 0x1000000
"""The id of a message that the server sends to itself: what was sent before it has been received then."""


def is_report(msgh_id: int) -> bool:
    """Whether a message of this id is a report of the library."""
    return msgh_id in (lib.EXCGUARD_INSERTION_START, lib.EXCGUARD_INSERTION_IMAGES)


def parse(received: bytes, sender: Sender) -> InsertionReport:
    """Check a report.

    Args:
        received: the message, and what is behind it.
        sender: from its trailer.

    Raises:
        MalformedError: it is not as insertion.h says.
    """
    _bits, size, remote, _local, _voucher, msgh_id = HEADER.unpack_from(received)
    if not HEADER.size + _REPORT.size <= size <= lib.EXCGUARD_INSERTION_MAX_MESSAGE:
        raise MalformedError(f"a report of {size} bytes")
    if remote != lib.MACH_PORT_NULL:
        raise MalformedError("a reply right in a report, which is not replied to")
    version, length, token, before, after, result, dropped, count = _REPORT.unpack_from(received, HEADER.size)
    if version != lib.EXCGUARD_INSERTION_VERSION or length != size:
        raise MalformedError(f"version {version} and total length {length} in {size} bytes")
    images = _images(received[HEADER.size + _REPORT.size : size], count)
    start = msgh_id == lib.EXCGUARD_INSERTION_START
    if start and not images:
        raise MalformedError("a first report without the program")
    return InsertionReport(sender, token, start, before, after, result, dropped, images)


def _images(entries: bytes, count: int) -> tuple[Image, ...]:
    if count > len(entries) // _IMAGE.size:
        raise MalformedError(f"{count} images in {len(entries)} bytes")
    images = []
    at = 0
    for _ in range(count):
        if at + _IMAGE.size > len(entries):
            raise MalformedError("images that end too early")
        size, length, address, extent, identifier = _IMAGE.unpack_from(entries, at)
        if size % 4 or length > lib.EXCGUARD_INSERTION_MAX_PATH or size < _IMAGE.size + length:
            raise MalformedError(f"an image of {size} bytes with a path of {length}")
        if at + size > len(entries):
            raise MalformedError("images that end too early")
        path = entries[at + _IMAGE.size : at + _IMAGE.size + length]
        if b"\0" in path:
            raise MalformedError("a path with a NUL in it")
        images.append(Image(path.decode("utf-8", "backslashreplace"), address, extent, _uuid(identifier)))
        at += size
    if at != len(entries):
        raise MalformedError(f"{len(entries) - at} bytes behind the images")
    return tuple(images)


def _uuid(identifier: bytes) -> str:
    return str(uuid.UUID(bytes=identifier)).upper() if any(identifier) else ""
