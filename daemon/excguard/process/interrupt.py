"""What Ctrl-C does: while excguard starts it ends the process silently; later it is an exception.

Python raises `KeyboardInterrupt` out of the line that is running. During an import that is a traceback of
another module, or it is lost in a callback. As soon as there are resources to release it is the right way.
"""

import os
import signal
from types import FrameType

STATUS = 128 + signal.SIGINT
"""The exit status of a process that was interrupted, as shells report it."""


def ends_at_once() -> None:
    """From now on SIGINT ends this process, unless it is ignored, as in the background of a script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def is_an_exception() -> None:
    """From now on SIGINT raises `KeyboardInterrupt` again, if `ends_at_once` has changed that."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Deferred:
    """Its ``with`` block is finished before a `KeyboardInterrupt` is raised.

    The second one does not wait: the block may hang, for example in a log whose reader has stopped.
    """

    def __enter__(self) -> None:
        """From now on SIGINT is deferred, if it would raise an exception."""
        self._came = False
        self._defers = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._defers:
            signal.signal(signal.SIGINT, self._remember)

    def __exit__(self, *_error: object) -> None:
        """Raise the exception if SIGINT came."""
        if self._defers:
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
