"""Standard streams for a process that was started without some of them."""

import contextlib
import os
import sys
from typing import Final

_STANDARD_OUTPUT: Final = 1
_STANDARD_ERROR: Final = 2


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


def write_error(text: str, *, patience: float | None = None) -> None:
    """Write ``text`` to standard error; a failure is ignored, there is no other place for it.

    Args:
        text: whole lines.
        patience: seconds without progress after which the rest is given up, for a pipe that is not being
            read must not keep the process from ending; None for no limit.
    """
    _write(_STANDARD_ERROR, text, patience)


def write_output(text: str, *, patience: float | None = None) -> None:
    """Write ``text``, which is of no use to others, to standard output: as `write_error` does."""
    _write(_STANDARD_OUTPUT, text, patience)


def _write(descriptor: int, text: str, patience: float | None) -> None:
    rest = text.encode("utf-8", "backslashreplace")
    import select  # noqa: PLC0415 - a library of its own, which most commands never need

    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    with contextlib.suppress(OSError):
        while rest and poll.poll(None if patience is None else patience * 1000):
            # What poll has found room for: more could wait, for the descriptor is in blocking mode.
            rest = rest[os.write(descriptor, rest[: select.PIPE_BUF]) :]
