"""What Ctrl-C does while excguard starts: nothing is held yet, so it ends the process at once and in silence.

Python's own way, a `KeyboardInterrupt`, comes out of whatever line is being run. Amid an import that is a
traceback of somebody else's module, or is lost in a callback. It is right once there are things to clean up.
"""

import os
import signal
from types import FrameType

STATUS = 128 + signal.SIGINT
"""The exit status of a process that was interrupted, as shells tell it."""


def ends_at_once() -> None:
    """From now on SIGINT ends this process, unless it is ignored, as in the background of a script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def is_an_exception() -> None:
    """From now on SIGINT raises `KeyboardInterrupt` again, if `ends_at_once` has changed that."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Waits:
    """In its ``with`` block a `KeyboardInterrupt` waits for the end: what is begun there gets finished.

    The second one does not wait: what is begun may hang, in a log that nobody reads, say.
    """

    def __enter__(self) -> None:
        """From now on SIGINT waits, if it would raise an exception."""
        self._came = False
        self._waits = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._waits:
            signal.signal(signal.SIGINT, self._remember)

    def __exit__(self, *_error: object) -> None:
        """Raise the exception if SIGINT came."""
        if self._waits:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._came:
            raise KeyboardInterrupt

    def _remember(self, _number: int, _frame: FrameType | None) -> None:
        if self._came:
            self._came = False
            raise KeyboardInterrupt
        self._came = True


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(STATUS)
