"""A file replaced in one step: readers see the old contents or the new ones, never a part."""

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

PRIVATE = 0o600
"""Read and written by its owner alone: the mode of journals, their tables and logs."""


def write(path: Path, contents: bytes, *, mode: int = PRIVATE) -> None:
    """Replace the file at ``path``, or make it; a symbolic link there is replaced, not followed.

    The contents are on the disk when this returns. The temporary file lies in the same directory and is made
    by `tempfile.mkstemp`, with ``O_EXCL`` and ``O_NOFOLLOW`` under a name that cannot be predicted, so that
    another user of a shared directory cannot redirect it.

    Args:
        path: the file.
        contents: all of it.
        mode: its permissions, whatever the umask.

    Raises:
        OSError: it cannot be written, or is a directory, device, FIFO or socket; what was there is unchanged.
            The error names ``path``.
    """
    try:
        _write(path, contents, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _write(path: Path, contents: bytes, mode: int) -> None:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        pass
    else:
        if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
            raise OSError(errno.EINVAL, "not a regular file, so it is not replaced")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
