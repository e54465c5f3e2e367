"""The life of the watched programs: started with an exception port, restarted, ended with all they began.

Each target has one exception port for its whole life here, a member of one port set, so that the port alone
says whose hit a message is. Each start of a target is one *process group*, led by a guardian
(`guardian/guardian.c`): a small process that waits for the end of a pipe whose other end only this process
holds. The pipe closes when the target's program has exited, when the target is stopped, and, by the kernel's
doing, when this process dies in any way. The guardian then ends whatever is left of the group: SIGTERM, a
spell of grace, SIGKILL. So there is one way in which groups end, and nothing survives even ``kill -9`` of the
supervisor. (A program that leaves its process group does so on purpose and is on its own, as under launchd.)

The supervisor lives on an asyncio event loop of the main thread, whose SIGCHLD it handles. It tells what
happens by
calling ``on_event`` on that thread, in order, before it does anything else::

    supervisor = Supervisor(host, on_event=print)
    target = supervisor.add(Target(name="app", command=("/usr/bin/true",)))
    register(target.port.name)                # before anything runs
    async with supervisor:
        await supervisor.run()                # until nothing is left to do, or stop() was called
"""

import asyncio
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from excguard.mach.exception_ports import Behavior
from excguard.mach.host import Host
from excguard.mach.ports import PortSet, ReceiveRight


class Restart(enum.Enum):
    """When a target is started again; the values are the words of the configuration."""

    NEVER = "never"
    ON_FAILURE = "on_failure"
    """After a status other than 0 and after a signal."""
    ALWAYS = "always"


class ExitReason(enum.Enum):
    """How a program ended, in few words: the ``reason`` label of ``excguard_target_exits_total``."""

    EXITED = "exited"
    """With status 0."""
    FAILED = "failed"
    """With another status."""
    KILLED = "killed"
    """By a signal."""
    STOPPED = "stopped"
    """In any of these ways after excguard had begun to stop it."""


@dataclass(frozen=True)
class Started:
    """A program runs: `target` has process `pid` from now on."""

    target: "Target"
    pid: int


@dataclass(frozen=True)
class StartFailed:
    """A program could not be started; `error` names it and says why."""

    target: "Target"
    error: OSError


@dataclass(frozen=True)
class Exited:
    """A program has ended, and was reaped.

    Attributes:
        target: whose program it was.
        pid: the process that it had.
        status: its exit status; None when a signal ended it.
        signal: the number of that signal; None when it exited by itself.
        reason: the same in few words.
        seconds: how long it ran.
    """

    target: "Target"
    pid: int
    status: int | None
    signal: int | None
    reason: ExitReason
    seconds: float

    @property
    def exit_status(self) -> int:
        """What a shell would say: the status, or 128 and the signal."""
        return self.status if self.status is not None else 128 + (self.signal or 0)


@dataclass(frozen=True)
class Restarting:
    """A target waits `delay` seconds before it is started again."""

    target: "Target"
    delay: float


Event = Started | StartFailed | Exited | Restarting


class Clock(Protocol):
    """The time that restarts go by; tests bring their own."""

    def time(self) -> float:
        """Seconds since some moment."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class LoopClock:
    """The event loop's own time."""

    def time(self) -> float:
        """Seconds since some moment."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


@dataclass(eq=False)
class Target:
    """One program to watch.

    Attributes:
        name: what logs and metrics call it.
        command: program and arguments, see `excguard.mach.spawn.spawn`.
        environment: variables on top of this process's own.
        directory: where it runs; empty for where this process runs.
        restart: when it is started again.
        restart_delay: seconds before the first restart; doubles with each that follows before the program has
            run for as long as the last delay and ten seconds more.
        restart_delay_max: seconds that the delay never exceeds.
        stop_timeout: seconds between SIGTERM and SIGKILL, for the program and for what it leaves behind.
        behavior: what the kernel tells about its guard hits.
        foreground: it gets standard input, and the terminal behind it if there is one; the others read
            /dev/null.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = ""
    restart: Restart = Restart.NEVER
    restart_delay: float = 1.0
    restart_delay_max: float = 60.0
    stop_timeout: float = 5.0
    behavior: Behavior = Behavior.IDENTITY_PROTECTED
    foreground: bool = False


class Watched:
    """A target in the care of a supervisor.

    Attributes:
        target: what was added.
        port: its exception port; the supervisor's.
        pid: the process that its program runs as; 0 while there is none.
        starts: how many times it was started.
    """

    target: Target
    port: ReceiveRight
    pid: int
    starts: int


class Supervisor:
    """Starts, restarts and ends targets."""

    port_set: PortSet
    """All exception ports of the targets."""

    def __init__(self, host: Host, *, on_event: Callable[[Event], None], clock: Clock | None = None) -> None:
        """Make a supervisor without targets.

        Args:
            host: the running system.
            on_event: called with each `Event` as it happens, on the event loop's thread; must not block.
            clock: the time that restarts go by; None for the event loop's own.
        """
        raise NotImplementedError

    def add(self, target: Target) -> Watched:
        """Give a target an exception port. Nothing is started yet.

        Raises:
            UnsupportedReleaseError: the running system cannot deliver the target's behavior.
            MachError: there is no port to be had.
        """
        raise NotImplementedError

    async def run(self) -> None:
        """Start all targets and look after them until none is left that runs or will be restarted.

        Programs that cannot be started are told as `StartFailed`, and started again by the same policy as
        those that fail.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Begin to end all targets for good; `run` returns when they have ended. Returns at once."""
        raise NotImplementedError

    def forward(self, signal: int) -> None:
        """Send a signal to every running program; without any it counts as `stop`."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of everything at once, ports included; guardians end the groups that still run."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Hold the supervisor for the length of a block."""
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, wait for the end of all targets, and close."""
        raise NotImplementedError
