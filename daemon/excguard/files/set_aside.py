"""A damaged file is kept under another name, so that a new one can take its place."""

import time
from pathlib import Path


def set_aside(path: Path) -> Path:
    """Rename ``path`` to ``NAME.damaged-TIME``; the new path. Raises OSError."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    number = 0
    while True:
        kept = path.with_name(f"{path.name}.damaged-{stamp}{f'-{number}' if number else ''}")
        if not kept.exists():
            return path.rename(kept)
        number += 1
