"""Reading a file that another user may have put there.

A name in a directory that others can write may be a FIFO that no one writes to, a device without an end, or
a file of any size. Opened and read as usual, each of them stops the reader or fills its memory.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final

_PART: Final = 1 << 20  # bytes that are read at a time


class NotARegularFileError(OSError):
    """A directory, FIFO, device, socket or (where links are refused) a symbolic link."""


class FileTooLargeError(OSError):
    """More bytes than the reader takes."""


def read(path: Path, limit: int, *, follow: bool = True) -> bytes:
    """Read a regular file of at most ``limit`` bytes.

    Opening does not wait (``O_NONBLOCK``), not even for the other end of a FIFO. A file that grows while it
    is read is refused as too large once it has passed the limit.

    Args:
        path: the file.
        limit: bytes.
        follow: whether ``path`` itself may be a symbolic link.

    Raises:
        NotARegularFileError: it is a FIFO, a device or a directory.
        FileTooLargeError: it has more than ``limit`` bytes.
        OSError: it cannot be opened or read.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        # ELOOP: a link with O_NOFOLLOW. ENXIO: a socket, or a device without a driver.
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EOPNOTSUPP}:
            raise NotARegularFileError(error.errno, "not a regular file", str(path)) from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory, " if stat.S_ISDIR(status.st_mode) else ""
            raise NotARegularFileError(errno.EINVAL, f"{kind}not a regular file", str(path))
        if status.st_size > limit:
            raise _too_large(path, limit)
        contents = bytearray()
        while part := os.read(descriptor, min(limit + 1 - len(contents), _PART)):
            contents += part
            if len(contents) > limit:
                raise _too_large(path, limit)
        return bytes(contents)
    finally:
        os.close(descriptor)


def _too_large(path: Path, limit: int) -> FileTooLargeError:
    return FileTooLargeError(errno.EFBIG, f"larger than {limit} bytes", str(path))
