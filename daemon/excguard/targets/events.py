"""What happens to a target: its program starts, cannot be started, ends, waits for its restart."""

import enum
from typing import Self

from excguard.config import Target
from excguard.files import errors
from excguard.knowledge.record import Record
from excguard.mach.errors import MachError
from excguard.targets.program import Program


class ExitReason(enum.Enum):
    """How a program ended: the ``reason`` label of ``excguard_target_exits_total``."""

    EXITED = "exited"
    """With status 0."""
    FAILED = "failed"
    """With another status."""
    KILLED = "killed"
    """By a signal."""
    STOPPED = "stopped"
    """In any of these ways, after excguard had begun to stop it."""

    @classmethod
    def of(cls, code: int) -> Self:
        """The reason of an exit code, as `os.waitstatus_to_exitcode` returns it."""
        if code:
            return cls.FAILED if code > 0 else cls.KILLED
        return cls.EXITED


class Started(Record):
    """The program of `target` was started, as process `pid`; `program` says how."""

    target: Target
    pid: int
    program: Program


class StartFailed(Record):
    """The program of `target` could not be started, because of `error`."""

    target: Target
    error: OSError | MachError | ValueError

    @property
    def reason(self) -> str:
        """The program, or its directory, and what is wrong with it."""
        if not isinstance(self.error, OSError):
            return str(self.error)
        return errors.message(self.error, self.target.command[0])


class Exited(Record):
    """A program has ended, and was reaped.

    Attributes:
        target: the target that it was started for.
        pid: its former process id.
        status: its exit status; None when a signal ended it.
        signal: the number of that signal; None when it exited by itself.
        reason: which of these it was.
        seconds: how long it ran.
        left: how many processes that it started were still running.
    """

    target: Target
    pid: int
    status: int | None
    signal: int | None
    reason: ExitReason
    seconds: float
    left: int = 0

    @property
    def exit_status(self) -> int:
        """The status that a shell reports: the program's, or 128 and the signal."""
        return self.status if self.status is not None else 128 + (self.signal or 0)


class GroupEnded(Record):
    """Everything in the process group of a program has ended.

    Attributes:
        target: the target.
        program: what has ended.
        detached: whether processes that had left the group still have the target's exception port.
    """

    target: Target
    program: Program
    detached: bool


class NotEnded(Record):
    """A process of the target did not end after SIGKILL, and was given up.

    Another process traces it, or it waits for a device in the kernel.
    """

    target: Target
    pid: int


class Restarting(Record):
    """The target is started again in `delay` seconds."""

    target: Target
    delay: float


Event = Started | StartFailed | Exited | GroupEnded | NotEnded | Restarting
