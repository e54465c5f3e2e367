"""Reading a file that another user may have put there.

A name in a directory that others can write may be a FIFO that no one writes to, a device without an end, or
a file of any size. Opened and read as usual, each of them stops the reader or fills its memory.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""How files of others are opened: a FIFO does not wait for its writer, a terminal does not become ours."""
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
    descriptor = _open(path, follow=follow)
    try:
        if os.fstat(descriptor).st_size > limit:
            raise _too_large(path, limit)
        contents = bytearray()
        while part := os.read(descriptor, min(limit + 1 - len(contents), _PART)):
            contents += part
            if len(contents) > limit:
                raise _too_large(path, limit)
        return bytes(contents)
    finally:
        os.close(descriptor)


def regular(path: Path) -> BinaryIO:
    """Open a regular file of any size, of which the caller reads parts. Opening does not wait.

    Raises:
        NotARegularFileError: it is a FIFO, a device or a directory.
        OSError: it cannot be opened.
    """
    return os.fdopen(_open(path, follow=True), "rb")


def _open(path: Path, *, follow: bool) -> int:
    """A descriptor of a regular file. Raises OSError."""
    try:
        descriptor = os.open(path, FLAGS | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        # ELOOP: a link with O_NOFOLLOW. ENXIO: a socket, or a device without a driver.
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EOPNOTSUPP}:
            raise NotARegularFileError(error.errno, "not a regular file", str(path)) from None
        raise
    except ValueError:  # a name that a file with untrusted text gave
        raise OSError(errno.EINVAL, "a NUL character in the path", str(path)) from None
    try:
        kind = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(kind):
            name = "a directory, " if stat.S_ISDIR(kind) else ""
            raise NotARegularFileError(errno.EINVAL, f"{name}not a regular file", str(path))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _too_large(path: Path, limit: int) -> FileTooLargeError:
    return FileTooLargeError(errno.EFBIG, f"larger than {limit} bytes", str(path))
