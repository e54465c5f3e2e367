"""Opening a file to write to, where another user may have put something else under its name.

In a directory that others can write, such as /tmp, a name may be a symbolic link to a file that this
process can write and they cannot, a further name of such a file, or a file or FIFO of theirs, in which they
would read what is written. None of these is opened there. Elsewhere links are followed as usual: /dev/stdout
is one.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PUBLIC = 0o666  # before the umask
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def descriptor(path: Path, flags: int, mode: int) -> int:
    """Open ``path`` with ``flags``, as `os.open` does; never one that a user other than root prepared for it.

    Args:
        path: the file.
        flags: of open(2). ``O_TRUNC`` empties the file only if it is accepted.
        mode: the permissions of a new file, before the umask.

    Raises:
        OSError: it cannot be opened, or another user has prepared it.
    """
    shared = _is_shared(path.parent)
    follow = not shared or _is_own_link(path)
    flags |= os.O_CLOEXEC | os.O_NOCTTY
    # O_NONBLOCK: nor does the opening wait for the reader of a FIFO that is not to be written to.
    cautious = 0 if follow else os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, (flags & ~os.O_TRUNC) | cautious, mode)
    except OSError as error:
        reasons = {
            errno.ELOOP: "a symbolic link, not followed",
            errno.ENXIO: "a FIFO without a reader, refused",
        }
        if follow or error.errno not in reasons:
            raise
        reason = f"{reasons[error.errno]} because other users can write to {path.parent}"
        raise OSError(error.errno, reason, str(path)) from None
    try:
        status = os.fstat(fd)
        if not follow:
            _check(status, path)
            os.set_blocking(fd, not flags & os.O_NONBLOCK)
        if flags & os.O_TRUNC and stat.S_ISREG(status.st_mode):
            os.ftruncate(fd, 0)
    except OSError:
        os.close(fd)
        raise
    return fd


def empty(path: Path) -> BinaryIO:
    """Open a file that the user has named, without its old contents. Raises OSError."""
    return os.fdopen(descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PUBLIC), "wb")


def write(path: Path, contents: bytes) -> None:
    """Write a file that the user has named, in place of its old contents. Raises OSError."""
    with _named(path), empty(path) as file:
        file.write(contents)


def append(path: Path, contents: bytes) -> None:
    """Write at the end of a file that the user has named. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with _named(path), os.fdopen(descriptor(path, flags, _PUBLIC), "ab") as file:
        file.write(contents)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of writing name the file, as those of opening it do."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _check(status: os.stat_result, path: Path) -> None:
    """Refuse a file that another user can have put into a shared directory. Raises OSError."""
    if status.st_uid not in (os.geteuid(), 0):
        problem = f"belongs to user {status.st_uid}"
    elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        problem = "a file with several names (hard links)"
    else:
        return
    raise OSError(errno.EPERM, f"{problem}, and other users can write to {path.parent}", str(path))


def _is_own_link(path: Path) -> bool:
    """Whether it is a symbolic link of this user or root that other users cannot replace."""
    try:
        status = path.lstat()
    except OSError:
        return False
    mine = stat.S_ISLNK(status.st_mode) and status.st_uid in (os.geteuid(), 0)
    return mine and bool(path.parent.stat().st_mode & stat.S_ISVTX)


def _is_shared(directory: Path) -> bool:
    """Whether another user than root can put names into a directory; False when it cannot be used at all."""
    try:
        status = directory.stat()
    except OSError:
        return False
    return status.st_uid not in (os.geteuid(), 0) or bool(status.st_mode & _OTHERS)
