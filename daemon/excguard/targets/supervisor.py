"""The life of the watched programs: started with an exception port, restarted, ended with all they began.

Each target has one exception port for its whole life here, a member of one port set, so that the port alone
says whose hit a message is. Each start of a target is one *process group*, led by a guardian
(`guardian/guardian.c`): a small process that waits for the end of a pipe whose other end only this process
holds. The pipe closes when the target's program has exited, when the target is stopped, and, by the
kernel's doing, when this process dies in any way. The guardian then ends whatever is left of the group:
SIGTERM, a spell of grace, SIGKILL. So there is one way in which groups end, and nothing survives even
``kill -9`` of the supervisor. (What a program starts in yet another group or session is on its own, on
purpose, as under launchd.)

The supervisor lives on an asyncio event loop of the main thread, whose SIGCHLD and SIGCONT it handles while
it runs. It tells what happens by calling ``on_event`` on that thread, in order::

    with Supervisor(host, on_event=print) as supervisor:
        watched = supervisor.add(Target(name="app", command=("/usr/bin/true",)))
        register(watched.port.name)   # with the receiver, before anything runs
        await supervisor.run()        # until nothing is left to do, or stop() was called
"""

import asyncio
import contextlib
import enum
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.mach.errors import MachError
from excguard.mach.exception_ports import Behavior, construct_exception_port
from excguard.mach.host import Host
from excguard.mach.ports import PortSet, ReceiveRight
from excguard.mach.rendezvous import Launch, environment
from excguard.mach.spawn import spawn
from excguard.native.closeable import Closeable
from excguard.process.guardian import ProcessGroup
from excguard.process.terminal import Terminal
from excguard.targets.self_registration import TargetRendezvous


class Restart(enum.Enum):
    """When a target is started again; the values are the words of the configuration."""

    NEVER = "never"
    ON_FAILURE = "on_failure"
    """After a status other than 0 and after a signal."""
    ALWAYS = "always"


class Attach(enum.Enum):
    """How a target's exception port comes to its program; the values are the words of the configuration."""

    SPAWN = "spawn"
    """The kernel has it from the start."""
    RENDEZVOUS = "rendezvous"
    """The program fetches and registers it."""
    BOTH = "both"
    """The kernel has it from the start, and the program may register it once more, and set its own flags."""


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

    @classmethod
    def of(cls, code: int) -> Self:
        """How an exit looks by its code alone, as `os.waitstatus_to_exitcode` gives it."""
        if code:
            return cls.FAILED if code > 0 else cls.KILLED
        return cls.EXITED


@dataclass(frozen=True)
class Started:
    """A program runs: `target` has process `pid` from now on."""

    target: "Target"
    pid: int


@dataclass(frozen=True)
class StartFailed:
    """A program could not be started, because of `error`."""

    target: "Target"
    error: OSError | MachError | ValueError

    @property
    def why(self) -> str:
        """The program, or its directory, and what is wrong with it."""
        if not isinstance(self.error, OSError) or not self.error.strerror:
            return str(self.error)
        place = os.fsencode(self.error.filename or self.target.command[0])
        return f"{place.decode('utf-8', 'backslashreplace')}: {self.error.strerror}"


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
        restart_delay: seconds before the first restart; doubles with each restart that follows, until the
            program has run for longer than `restart_delay_max`.
        restart_delay_max: seconds that the delay never exceeds.
        stop_timeout: seconds between SIGTERM and SIGKILL, for the program and for what it leaves behind.
        behavior: what the kernel tells about its guard hits.
        attach: how its exception port comes to it.
        guard_behavior: flags that it sets for itself when it registers its exception port; None for those
            that it has.
        foreground: it gets standard input, and the terminal behind it if there is one; the others read
            /dev/null.
        known_first: its program begins only when ``on_event`` has been told that it was started, and under
            which process id.
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
    attach: Attach = Attach.SPAWN
    guard_behavior: GuardBehavior | None = None
    foreground: bool = False
    known_first: bool = False


@dataclass(eq=False)
class Watched:
    """A target in the care of a supervisor.

    Attributes:
        target: what was added.
        port: its exception port; the supervisor's.
        pid: the process that its program runs as; 0 while there is none.
        starts: how many times its program was started.
        stopping: it is to end for good.
    """

    target: Target
    port: ReceiveRight
    pid: int = 0
    starts: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor(Closeable):
    """Starts, restarts and ends targets.

    Attributes:
        port_set: all exception ports of the targets.
    """

    def __init__(
        self,
        host: Host,
        *,
        on_event: Callable[[Event], None],
        clock: Clock | None = None,
        rendezvous: TargetRendezvous | None = None,
    ) -> None:
        """Make a supervisor without targets.

        Args:
            host: the running system.
            on_event: called with each `Event` as it happens, on the event loop's thread; must not block.
            clock: the time that restarts go by; None for the event loop's own.
            rendezvous: for targets that fetch their exception port; without one they have it from the start.

        Raises:
            MachError: there is no port set to be had.
        """
        self._host = host
        self._on_event = on_event
        self._clock = clock or LoopClock()
        self._rendezvous = rendezvous
        self._terminal = Terminal()
        self._watched: list[Watched] = []
        self._tasks: asyncio.TaskGroup | None = None  # while `run` runs
        self._runs: set[_Run] = set()
        self._stopping = asyncio.Event()
        self.port_set = PortSet.allocate()

    def add(self, target: Target) -> Watched:
        """Give a target an exception port. Its program is started by `run`; at once if that runs.

        Raises:
            UnsupportedReleaseError: the running system cannot deliver the target's behavior.
            MachError: there is no port to be had.
        """
        target.behavior.check(self._host)
        port = construct_exception_port(self._host)
        try:
            port.move_to(self.port_set)
        except MachError:
            port.close()
            raise
        watched = Watched(target, port)
        self._watched.append(watched)
        self._create_task(self._look_after(watched))
        return watched

    async def remove(self, watched: Watched) -> None:
        """End one target for good; its port is still there when this returns, see `release`."""
        watched.stopping.set()
        for run in [run for run in self._runs if run.watched is watched]:
            run.group.end()
            await run.ended.wait()

    def hold(self) -> Callable[[], None]:
        """Keep `run` from returning, though no target may be left, until what is returned is called."""
        over = asyncio.Event()
        self._create_task(over.wait())
        return over.set

    def release(self, watched: Watched) -> None:
        """Let go of the port of a target that was removed."""
        self._watched.remove(watched)
        watched.port.close()

    async def run(self, *, stay: bool = False) -> None:
        """Start all targets and look after them until none is left that runs or will be restarted.

        With ``stay`` until `stop`, whether there are any or not.

        A program that cannot be started is told as `StartFailed`, and restarted by the same policy as one
        that fails. Cancelled, this ends all targets before it returns.

        Raises:
            RuntimeError: this is not the main thread, which alone can handle signals.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._children_changed)
        loop.add_signal_handler(signal.SIGCONT, self._continued)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                if stay:
                    tasks.create_task(self._stopping.wait())
                for watched in self._watched:
                    tasks.create_task(self._look_after(watched))
        finally:
            self._tasks = None
            loop.remove_signal_handler(signal.SIGCHLD)
            loop.remove_signal_handler(signal.SIGCONT)

    def stop(self) -> None:
        """Begin to end all targets for good; `run` returns when they have ended. Returns at once."""
        self._stopping.set()
        for run in self._runs:
            run.group.end()

    def forward(self, number: int) -> None:
        """Send a signal to every running program; while there is none it counts as `stop`.

        Those of the keyboard go to its whole group, as they would come from the terminal: a shell that waits
        for a command leaves it to that to end.
        """
        running = [run for run in self._runs if run.pid]
        if not running:
            self.stop()
        for run in running:
            self._signal(run, number, whole_group=number in (signal.SIGINT, signal.SIGQUIT))
            if number in (signal.SIGTERM, signal.SIGHUP):
                self._signal(run, signal.SIGCONT, whole_group=False)  # a stopped one takes it only then

    def close(self) -> None:
        """Let go of everything at once, ports included; guardians end the groups that still run."""
        self.stop()
        self._terminal.take_back()
        for watched in self._watched:
            watched.port.close()
        self.port_set.close()

    async def _look_after(self, watched: Watched) -> None:
        target = watched.target
        delay = min(target.restart_delay, target.restart_delay_max)
        while not self._ending(watched):
            began = self._clock.time()
            exited = await self._run_once(watched)
            failed = exited is None or exited.reason is not ExitReason.EXITED
            if target.restart is Restart.NEVER or (target.restart is Restart.ON_FAILURE and not failed):
                return
            if self._clock.time() - began > target.restart_delay_max:
                delay = min(target.restart_delay, target.restart_delay_max)
            if not self._ending(watched):
                self._on_event(Restarting(target, delay))
                await self._sleep(delay, watched)
            delay = min(delay * 2, target.restart_delay_max)

    def _create_task(self, work: Coroutine[Any, Any, object]) -> None:
        """Have `run` wait for ``work`` too; without a `run`, or when that is over, nothing is done."""
        if self._tasks is not None:
            with contextlib.suppress(RuntimeError):  # the group is over: its last task has just ended
                self._tasks.create_task(work)
                return
        work.close()

    def _ending(self, watched: Watched) -> bool:
        return self._stopping.is_set() or watched.stopping.is_set()

    async def _run_once(self, watched: Watched) -> Exited | None:
        """Run the program once, until its whole group has ended; None when it could not be started."""
        target = watched.target
        try:
            run = _Run(watched, ProcessGroup(target.stop_timeout))
        except OSError as error:
            self._on_event(StartFailed(target, error))
            return None
        self._runs.add(run)
        try:
            self._start(run)
            await run.ended.wait()
        finally:
            run.group.end()
            await run.ended.wait()
            self._runs.remove(run)
        return run.exited

    def _start(self, run: "_Run") -> None:
        watched = run.watched
        target = watched.target
        if target.foreground:
            self._terminal.lend(run.group.number)
        try:
            with watched.port.make_send() as send, self._launch(watched) as launched:
                launch, variables = launched or (None, {})
                run.pid = spawn(
                    self._host,
                    target.command,
                    exception_port=None if launch and target.attach is Attach.RENDEZVOUS else send,
                    behavior=target.behavior,
                    environment={**_own_environment(), **target.environment, **variables},
                    directory=target.directory,
                    process_group=run.group.number,
                    null_stdin=not target.foreground,
                    suspended=target.known_first,
                )
                if launch:
                    launch.register(run.pid)
        except (OSError, MachError, ValueError) as error:
            self._terminal.take_back()
            run.group.end()
            self._on_event(StartFailed(target, error))
            return
        run.began = self._clock.time()
        watched.pid = run.pid
        watched.starts += 1
        with contextlib.suppress(BrokenPipeError):  # the guardian was killed: SIGCHLD tells so
            run.group.register(run.pid)
        self._on_event(Started(target, run.pid))
        if target.known_first:
            # Until here it has not run. Should we not get here, the guardian continues what it ends.
            self._signal(run, signal.SIGCONT, whole_group=False)

    def _launch(
        self, watched: Watched
    ) -> contextlib.AbstractContextManager[tuple[Launch, dict[str, str]] | None]:
        target = watched.target
        if target.attach is Attach.SPAWN or self._rendezvous is None:
            return contextlib.nullcontext()
        return self._rendezvous.launch(target.name, watched.port, target.behavior, target.guard_behavior)

    def _children_changed(self) -> None:
        """Handle SIGCHLD. Signals of several children may have become one, so all are asked."""
        for run in list(self._runs):
            self._poll_program(run)
            if run.group.poll():
                if run.pid:
                    # The guardian was killed by somebody, or left the program behind in another group.
                    self._signal(run, signal.SIGKILL, whole_group=True)
                else:
                    run.ended.set()

    def _poll_program(self, run: "_Run") -> None:
        if not run.pid:
            return
        pid, status = os.waitpid(run.pid, os.WNOHANG | os.WUNTRACED)
        if not pid:
            return
        if os.WIFSTOPPED(status):
            self._program_stopped(run, os.WSTOPSIG(status))
            return
        if self._rendezvous is not None:
            self._rendezvous.forget(pid)
        watched = run.watched
        code = os.waitstatus_to_exitcode(status)
        run.pid = watched.pid = 0
        run.exited = Exited(
            watched.target,
            pid,
            status=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            reason=ExitReason.STOPPED if run.group.ending else ExitReason.of(code),
            seconds=self._clock.time() - run.began,
        )
        if watched.target.foreground:
            self._terminal.take_back()
        run.group.end()
        self._on_event(run.exited)

    @staticmethod
    def _signal(run: "_Run", number: int, *, whole_group: bool) -> None:
        """Send a signal to a program that is not reaped yet, so that its number is still its own."""
        with _may_have_died():
            group = os.getpgid(run.pid)
            if whole_group and group in (run.group.number, run.pid):
                os.killpg(group, number)
            else:
                os.kill(run.pid, number)

    def _program_stopped(self, run: "_Run", number: int) -> None:
        """Job control: lend the terminal that the program was stopped for, or let the shell see us stop."""
        if not run.watched.target.foreground:
            return
        if number in (signal.SIGTTIN, signal.SIGTTOU):
            with _may_have_died():
                group = os.getpgid(run.pid)
                if self._terminal.lend(group, asked=True):
                    os.killpg(group, signal.SIGCONT)
                    return
        if self._terminal.present:
            run.stopped = True
            self._terminal.take_back()
            os.kill(0, signal.SIGTSTP)
            # Here again after `fg` or `bg`; or at once, where no shell is there to continue what has stopped.
            self._continued()

    def _continued(self) -> None:
        """Handle SIGCONT: lend the terminal if it is ours now, and let the program that was stopped go on."""
        for run in self._runs:
            if run.watched.target.foreground and run.pid:
                with _may_have_died():
                    group = os.getpgid(run.pid)
                    self._terminal.lend(group)
                    if run.stopped:
                        run.stopped = False
                        os.killpg(group, signal.SIGCONT)

    async def _sleep(self, seconds: float, watched: Watched) -> None:
        """Sleep for ``seconds``, or until ``watched`` is to end."""
        waits = [
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._stopping.wait()),
            asyncio.ensure_future(watched.stopping.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


@dataclass(eq=False)
class _Run:
    """One start of a target, until the whole group has ended."""

    watched: Watched
    group: ProcessGroup
    pid: int = 0
    stopped: bool = False
    began: float = 0.0
    exited: Exited | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


def _own_environment() -> dict[str, str]:
    """This process's environment without what told it of a rendezvous of its own."""
    others = (environment.SERVICE, environment.SERVER_PID, environment.VALIDATION, environment.GUARD_BEHAVIOR)
    return {name: value for name, value in os.environ.items() if name not in others}


def _may_have_died() -> contextlib.suppress:
    """For calls about a process that is not reaped: macOS does not find the group of a zombie.

    (sys_getpgid in bsd/kern/kern_prot.c says ESRCH, killpg1 in bsd/kern/kern_sig.c EPERM, xnu-11417.121.6.)
    """
    return contextlib.suppress(ProcessLookupError, PermissionError)
