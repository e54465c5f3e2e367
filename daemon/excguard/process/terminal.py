"""Lending the terminal to a program that is watched, as a shell lends it to a job."""

import contextlib
import os
import signal
from collections.abc import Iterator


class Terminal:
    """The terminal that controls this process, if any. Only its foreground process group may read from it.

    The watched program lives in a process group of its own. Without the foreground it would be stopped at
    its first read, and Ctrl-C would reach excguard instead. With it, all other processes of excguard's group
    would be stopped instead: in ``excguard run -- app | less`` the pager. So a program that is alone on the
    terminal has it from the start, and one in a pipeline when it first uses it.
    """

    def __init__(self) -> None:
        """Nothing is lent yet."""
        self._lent = False
        self._wanted = os.isatty(0) and os.isatty(1)

    @property
    def present(self) -> bool:
        """Whether there is one."""
        return self._foreground() is not None

    def lend(self, group: int, *, asked: bool = False) -> bool:
        """Make ``group`` the foreground group, unless it does not use the terminal, or excguard lacks it.

        Args:
            group: of the program.
            asked: it has tried to use the terminal, so it gets it from now on.

        Returns:
            Whether it was not lent before and is now.
        """
        self._wanted = self._wanted or asked
        if not self._wanted or self._foreground() != os.getpgrp():
            return False
        self._set_foreground(group)
        self._lent = True
        return True

    def take_back(self) -> None:
        """Make this process's group the foreground again, if it was lent."""
        if self._lent:
            self._set_foreground(os.getpgrp())
            self._lent = False

    @staticmethod
    def _foreground() -> int | None:
        try:
            with _controlling_terminal() as fd:
                return os.tcgetpgrp(fd)
        except OSError:  # there is none, or it has hung up
            return None

    @staticmethod
    def _set_foreground(group: int) -> None:
        # A background process that changes the foreground group is stopped by SIGTTOU, unless blocked
        # (POSIX, tcsetpgrp).
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            with _controlling_terminal() as fd:
                os.tcsetpgrp(fd, group)
        except OSError:
            pass  # the terminal has hung up: there is nothing to lend or to take back
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _controlling_terminal() -> Iterator[int]:
    fd = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
