"""Standard streams for a process that was started without some of them."""

import os
import sys


def open_missing() -> None:
    """Put /dev/null where a standard stream was closed.

    Otherwise the next file, socket or pipe that is opened gets its number: it would receive what is
    written to standard error, and be replaced in a child that gets a stream at that number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)  # the lowest free number: the one that is missing
            os.set_inheritable(fd, True)  # noqa: FBT003 - it takes no keyword
            setattr(sys, name, os.fdopen(fd, mode, encoding="utf-8"))
