"""Waits for what another thread or process does; nothing here depends on how long that takes."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")

PAUSE = 0.01
ATTEMPTS = 6000
"""A minute at least: after that a test fails."""


def wait_until(look: Callable[[], Found], good: Callable[[Found], bool] = bool) -> Found:
    """What ``look`` returns, as soon as it is ``good``."""
    pause = threading.Event()
    for _ in range(ATTEMPTS):
        found = look()
        if good(found):
            return found
        pause.wait(PAUSE)
    raise AssertionError(f"waited in vain; last seen: {found!r}")


async def until(condition: Callable[[], bool]) -> None:
    """Returns when ``condition`` holds; other tasks run meanwhile."""
    for _ in range(ATTEMPTS):
        if condition():
            return
        await asyncio.sleep(PAUSE)
    raise AssertionError("waited in vain")


def has_ended(pid: int) -> bool:
    """Whether a process has ended, be it a child of another that has not reaped it yet."""
    status = Path(f"/proc/{pid}/stat")
    try:
        os.kill(pid, 0)
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True
