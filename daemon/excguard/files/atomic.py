"""A file replaced in one step: readers see the old contents or the new ones, never a part."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PRIVATE = 0o600
"""Read and written by its owner alone: the mode of journals, their tables and logs."""


@contextlib.contextmanager
def writer(path: Path, *, mode: int = PRIVATE, sync: bool = True) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of the one at ``path`` when the block ends without an error.

    A symbolic link there is replaced, not followed. The contents are on the disk then. The temporary file
    lies in the same directory and is made by `tempfile.mkstemp`, with ``O_EXCL`` and ``O_NOFOLLOW`` under a
    name that cannot be predicted, so that another user of a shared directory cannot redirect it.

    Args:
        path: the file.
        mode: its permissions, whatever the umask.
        sync: wait until the contents are on the disk. Without it, a loss of power can leave an empty file.

    Raises:
        OSError: it cannot be written, or is a directory, device, FIFO or socket; what was there is unchanged.
            The error names ``path``.
    """
    import tempfile  # noqa: PLC0415 - with shutil and its compressors, for commands that write no such file

    try:
        _refuse_special(path)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            if sync:
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        if isinstance(error, OSError) and error.filename in {None, name}:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def write(path: Path, contents: bytes, *, mode: int = PRIVATE, sync: bool = True) -> None:
    """Replace the file at ``path``, or make it, as `writer` does.

    Args:
        path: the file.
        contents: all of it.
        mode: its permissions, whatever the umask.
        sync: as of `writer`.

    Raises:
        OSError: as of `writer`.
    """
    with writer(path, mode=mode, sync=sync) as file:
        file.write(contents)


def _refuse_special(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
        raise OSError(errno.EINVAL, "not a regular file, so it is not replaced")
