"""Lending the terminal to a program that is watched, as a shell lends it to a job."""

import os
import signal


class Terminal:
    """The terminal on standard input, if there is one. Only its foreground process group may read from it.

    The watched program lives in a process group of its own. Without the foreground it would be stopped at
    its first read, and Ctrl-C would reach excguard in its place.
    """

    def __init__(self) -> None:
        """Nothing is lent yet."""
        self._lent = False

    @property
    def present(self) -> bool:
        """Whether standard input is a terminal."""
        return os.isatty(0)

    def lend(self, group: int) -> None:
        """Make ``group`` the foreground, unless excguard itself is in the background."""
        if self._foreground() == os.getpgrp():
            self._set_foreground(group)
            self._lent = True

    def take_back(self) -> None:
        """Make this process's group the foreground again, if it was lent."""
        if self._lent:
            self._set_foreground(os.getpgrp())
            self._lent = False

    @staticmethod
    def _foreground() -> int | None:
        try:
            return os.tcgetpgrp(0)
        except OSError:  # no terminal, or one that controls another session
            return None

    @staticmethod
    def _set_foreground(group: int) -> None:
        # Who is not in the foreground and changes it is stopped with SIGTTOU, unless that is blocked (POSIX,
        # tcsetpgrp).
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            os.tcsetpgrp(0, group)
        except OSError:
            pass  # the terminal has hung up: there is nothing to lend or to take back
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
