"""A damaged file is kept under another name, so that a new one can take its place."""

import errno
import stat
import time
from pathlib import Path


def set_aside(path: Path) -> Path:
    """Rename ``path`` to ``NAME.damaged-TIME``; the new path.

    Raises:
        OSError: it cannot be renamed, or is a device: that is in its place, and the configuration is wrong.
    """
    kind = path.lstat().st_mode
    if stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
        raise OSError(errno.EINVAL, "a device", str(path))
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    number = 0
    while True:
        kept = path.with_name(f"{path.name}.damaged-{stamp}{f'-{number}' if number else ''}")
        if not kept.exists():
            return path.rename(kept)
        number += 1
