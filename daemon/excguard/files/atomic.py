"""A file replaced in one step: readers see the old contents or the new ones, never a part."""

import contextlib
import os
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
        OSError: it cannot be written; what was there is unchanged.
    """
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
