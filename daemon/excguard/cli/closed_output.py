"""What a command does when its output is closed before its end: `excguard scan --json ... | head -1`."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def ends_with(found: Callable[[], bool]) -> Iterator[None]:
    """End the process as if all had been written: with status 0 where something was found, otherwise 1.

    Args:
        found: Whether something was found until then.
    """
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes standard output at its end
        sys.exit(0 if found() else 1)
