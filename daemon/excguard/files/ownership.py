"""Whether other users can change a file that a process of root trusts."""

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def problem(path: Path) -> str | None:
    """Why another user than root can change or replace ``path``; None when none can.

    The file, where it exists, and every directory above it have to be root's and writable by root alone. A
    directory with the sticky bit, such as /tmp, may be written by all: only owners replace files there.

    Returns:
        One line: which file, what is wrong, how to fix it.

    Raises:
        OSError: a directory cannot be looked at.
    """
    for each in _all_on_the_way(path):
        try:
            status = each.lstat()
        except FileNotFoundError:
            continue  # to be made
        quoted = shlex.quote(str(each))
        if status.st_uid != 0:
            option = "-h " if stat.S_ISLNK(status.st_mode) else ""
            return f"{each}: belongs to user {status.st_uid}, not to root; chown {option}root {quoted}"
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_mode & _OTHERS and not sticky and not stat.S_ISLNK(status.st_mode):
            return f"{each}: can be written by other users than root; chmod go-w {quoted}"
    return None


def _all_on_the_way(path: Path) -> Iterator[Path]:
    """What decides which file ``path`` is: it, the directories above it, and those of links on the way."""
    waiting = [path.absolute()]
    seen: set[Path] = set()
    while waiting:
        place = waiting.pop()
        for each in (*reversed(place.parents), place):
            if each in seen:
                continue
            seen.add(each)
            yield each
            if each.is_symlink():
                waiting.append(each.parent.resolve() / each.readlink() / place.relative_to(each))
                break


def problem_for_this_process(path: Path) -> str | None:
    """As `problem` for a process of root; None for others."""
    return problem(path) if os.geteuid() == 0 else None
