"""Reading files no further than needed: most reports show by their start that they are of other crashes."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from excguard.crash_reports import ips
from excguard.files.bounded import FLAGS, NotARegularFileError

HEAD: Final = 32 * 1024
"""Bytes read first: enough to recognize a crash of another kind."""
BUFFER: Final = 1 << 20
"""Bytes of a buffer for `read`; reports are smaller."""


def read(path: str, buffer: memoryview) -> memoryview | None:
    """The contents of a file, in ``buffer``; None when its first `HEAD` bytes show another kind of crash.

    Args:
        path: the file.
        buffer: of `BUFFER` bytes; one for all files, since new memory costs more than the reading. When the
            result fills it, the file may have more bytes.

    Raises:
        NotARegularFileError: it is a directory, FIFO, device or socket.
        OSError: it cannot be read.
    """
    file = os.open(path, FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise NotARegularFileError(errno.EINVAL, "not a regular file", path)
        size = os.readv(file, [buffer[:HEAD]])
        if ips.other_crash(buffer[:size]):
            return None
        if size == HEAD:
            size += os.readv(file, [buffer[HEAD:]])
    finally:
        os.close(file)
    return buffer[:size]
