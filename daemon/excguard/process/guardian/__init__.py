"""Process groups that end when this process releases them or dies, for any reason (see `guardian.c`)."""

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

from excguard.mach import children

PROGRAM: Final = "excguard-guardian"
_SIZEOF_PID: Final = 4  # of pid_t, on Linux and macOS


class ProcessGroup:
    """A process group with one member, its leader: the guardian.

    A program joins it when it is started with this `number` as its process group. The group ends when `end`
    is called or this process ends. Then the guardian ends last, which `poll` reports (after a SIGCHLD); until
    it was reaped, no other process or group can have this number.

    Attributes:
        number: the group's, and the guardian's process id.
    """

    def __init__(self, grace: float) -> None:
        """Start a guardian that gives members ``grace`` seconds between SIGTERM and SIGKILL.

        Raises:
            OSError: it cannot be started.
        """
        program = _program()
        self._reaped = False
        reading, self._lifeline = os.pipe()
        try:
            self.number = os.posix_spawn(
                program,
                [PROGRAM, str(round(grace * 1000))],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, reading, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setpgroup=0,
                setsigmask=signal.valid_signals(),
            )
        except OSError:
            os.close(self._lifeline)
            raise
        finally:
            os.close(reading)

    def register(self, program: int) -> None:
        """Send the guardian the process that was started into the group, which may lead a group of its own.

        Raises:
            BrokenPipeError: the guardian is gone.
        """
        os.write(self._lifeline, program.to_bytes(_SIZEOF_PID, sys.byteorder))

    def withdraw(self) -> None:
        """Take back what was registered; to be called before that process is reaped."""
        if not self.ending:
            with contextlib.suppress(BrokenPipeError):
                self.register(0)

    def end(self) -> None:
        """Make the guardian end the group. Returns at once; later calls do nothing."""
        if self.ending:
            return
        os.close(self._lifeline)
        self._lifeline = -1
        if not self._reaped:
            # SIGSTOP to the group has stopped the guardian too, and it has to run now.
            os.kill(self.number, signal.SIGCONT)

    @property
    def ending(self) -> bool:
        """Whether `end` was called."""
        return self._lifeline == -1

    def poll(self) -> bool:
        """Whether the guardian has ended, and so the whole group.

        A guardian that was killed leaves members that live: see `kill`.
        """
        return self._reaped or children.has_ended(self.number)

    def kill(self) -> None:
        """End the guardian and all members with SIGKILL, which also ends what is stopped or traced."""
        if not self._reaped:
            for kill in (os.killpg, os.kill):
                # Nothing there that can be signalled: on macOS neither a zombie nor its group.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(self.number, signal.SIGKILL)

    def reap(self) -> bool:
        """Give the number back; False when the guardian has not ended, or another process traces it."""
        self._reaped = self._reaped or children.reap(self.number) is not None
        return self._reaped


def _program() -> str:
    # An editable install has its Python and its built files in two directories.
    for directory in __path__:
        program = Path(directory, PROGRAM)
        if program.is_file():
            return str(program)
    raise FileNotFoundError(f"{PROGRAM} was not built: install excguard with pip, which builds it")
