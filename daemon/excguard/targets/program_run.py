"""One start of a target's program, from its process group to the end of everything in that group."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from excguard.config import Registration, Reply
from excguard.mach.errors import MachError
from excguard.mach.host import Host
from excguard.mach.rendezvous import environment
from excguard.mach.spawn import find_program, spawn
from excguard.process.guardian import ProcessGroup
from excguard.process.terminal import Terminal
from excguard.targets.delivery import plan
from excguard.targets.events import Event, Exited, ExitReason, GroupEnded, Started, StartFailed
from excguard.targets.program import Program
from excguard.targets.rendezvous import TargetLaunch, TargetRendezvous
from excguard.targets.supervised_target import SupervisedTarget

_FIRST_LOOK: Final = 0.1  # seconds between two looks at a program's processes, at first
_LAST_LOOK: Final = 2.0  # and in the end
_LEFT: Final = 0.02  # seconds between two looks for processes that are left
_RELEASING: Final = 25  # such looks after the end of a group


class Clock(Protocol):
    """The time that restarts go by; tests bring their own."""

    def time(self) -> float:
        """Seconds since some moment."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class ProgramRun:
    """A program of a target.

    Attributes:
        supervised: the target.
        pid: the program's process; 0 before it is started and after it was reaped.
        exited: how it ended; None until then, and when it could not be started.
        ended: set when its whole group has ended.
        finished: set when that was reported, too.
    """

    def __init__(  # noqa: PLR0913 - the parts of the supervisor that a program needs
        self,
        supervised: SupervisedTarget,
        *,
        host: Host,
        clock: Clock,
        terminal: Terminal,
        rendezvous: TargetRendezvous | None,
        on_event: Callable[[Event], None],
    ) -> None:
        """Make the process group; the program is not started yet.

        Raises:
            OSError: the guardian of the group cannot be started.
        """
        self.supervised = supervised
        self.pid = 0
        self.exited: Exited | None = None
        self.ended = asyncio.Event()
        self.finished = asyncio.Event()
        self._host = host
        self._clock = clock
        self._terminal = terminal
        self._rendezvous = rendezvous
        self._on_event = on_event
        self._program: Program | None = None
        self._looking: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._stopped = False
        self._began = 0.0
        self._group = ProcessGroup(supervised.target.stop_timeout)

    def start(self) -> None:
        """Start the program; an event reports it, or why it could not be started."""
        supervised = self.supervised
        target = supervised.target
        if supervised.foreground:
            self._terminal.lend(self._group.number)
        # The receiver answers "handled" only to the program's own process, so it needs the pid before a hit.
        suspended = target.reply is Reply.CONSUME
        environment = {**_own_environment(), **target.environment}
        try:
            path = find_program(target.command, environment, target.directory)
            program = Program(plan(target, Path(path), self._host, environment))
            with (
                supervised.port.make_send() as send,
                self._launch(program) as (launch, variables),
            ):
                by_itself = launch is not None and target.registration is Registration.RENDEZVOUS
                self.pid = spawn(
                    self._host,
                    target.command,
                    exception_port=None if by_itself else send,
                    behavior=target.behavior,
                    environment={**environment, **variables},
                    directory=target.directory,
                    process_group=self._group.number,
                    null_stdin=not supervised.foreground,
                    suspended=suspended,
                )
                if launch:
                    launch.register(self.pid)
        except (OSError, MachError, ValueError) as error:
            self._terminal.take_back()
            self._group.end()
            self._on_event(StartFailed(target, error))
            return
        self._began = self._clock.time()
        program.pid = supervised.pid = self.pid
        supervised.program = self._program = program
        supervised.starts += 1
        with contextlib.suppress(BrokenPipeError):  # the guardian was killed: SIGCHLD reports it
            self._group.register(self.pid)
        self._on_event(Started(target, self.pid, program))
        self._looking = asyncio.get_running_loop().create_task(self._look(program))
        if suspended:
            # Until here it has not run. If this process dies before this line, the guardian continues it.
            self.signal(signal.SIGCONT, whole_group=False)

    def end(self) -> None:
        """Begin to end the program and its group. Returns at once; `ended` is set later."""
        self._group.end()

    def poll(self) -> None:
        """Look at the program and at its group, after a SIGCHLD."""
        self._poll_program()
        if self._group.poll():
            if self.pid:
                # The guardian was killed from outside, or left the program behind in another group.
                self.signal(signal.SIGKILL, whole_group=True)
            else:
                self.ended.set()

    def signal(self, number: int, *, whole_group: bool) -> None:
        """Send a signal to the program, which is not reaped yet, so that its number is still its own."""
        with _may_have_died():
            group = os.getpgid(self.pid)
            if whole_group and group in (self._group.number, self.pid):
                os.killpg(group, number)
            else:
                os.kill(self.pid, number)

    def continued(self) -> None:
        """After SIGCONT to this process: lend the terminal if it is ours now, and continue the program."""
        if not self.supervised.foreground or not self.pid:
            return
        with _may_have_died():
            group = os.getpgid(self.pid)
            self._terminal.lend(group)
            if self._stopped:
                self._stopped = False
                os.killpg(group, signal.SIGCONT)

    def _launch(
        self, program: Program
    ) -> contextlib.AbstractContextManager[tuple[TargetLaunch | None, dict[str, str]]]:
        if self._rendezvous is None:
            return contextlib.nullcontext((None, {}))
        return self._rendezvous.launch(self.supervised.target, program, self.supervised.port)

    async def _look(self, program: Program) -> None:
        """Look at the processes of the program again and again, at first often."""
        delay = _FIRST_LOOK
        while True:
            await asyncio.sleep(delay)
            program.look()
            delay = min(delay * 1.1, _LAST_LOOK)

    def _some_left(self, program: Program) -> bool:
        """Whether a process of the program still runs, in its group or outside of it.

        A process that nothing has seen can be one of them: it has the exception port.
        """
        return self.supervised.port.has_senders() or program.left(self._group.number) > 0

    async def _wait_for_all(self, program: Program) -> None:
        """End the group when no process of the program is left."""
        while self._some_left(program):  # noqa: ASYNC110 - there is no event for processes of others
            await asyncio.sleep(_LEFT)
        self._group.end()

    async def finish(self) -> None:
        """End the program and its group, and wait for that; an event reports it."""
        self._group.end()
        await self.ended.wait()
        for task in (self._looking, self._waiting):
            if task is not None:
                task.cancel()
        if self._program is not None:
            await self._report_end(self._program)
        self.finished.set()

    async def _report_end(self, program: Program) -> None:
        if self._rendezvous is not None:
            self._rendezvous.ended(program)
        # The kernel lets go of the rights of a dead process a moment after it can be reaped.
        detached = self._some_left(program)
        for _ in range(_RELEASING):
            if not detached:
                break
            await asyncio.sleep(_LEFT)
            detached = self._some_left(program)
        self._on_event(GroupEnded(self.supervised.target, program, detached))

    def _poll_program(self) -> None:
        if not self.pid:
            return
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        if not pid:
            return
        if os.WIFSTOPPED(status):
            self._program_stopped(os.WSTOPSIG(status))
            return
        if self._rendezvous is not None:
            self._rendezvous.forget(pid)
        supervised = self.supervised
        code = os.waitstatus_to_exitcode(status)
        self.pid = supervised.pid = 0
        self.exited = Exited(
            supervised.target,
            pid,
            status=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            reason=ExitReason.STOPPED if self._group.ending else ExitReason.of(code),
            seconds=self._clock.time() - self._began,
            left=self._program.left(self._group.number) if self._program else 0,
        )
        if supervised.foreground:
            self._terminal.take_back()
        if supervised.target.wait_all and self._program and not self._group.ending:
            self._waiting = asyncio.get_running_loop().create_task(self._wait_for_all(self._program))
        else:
            self._group.end()
        self._on_event(self.exited)

    def _program_stopped(self, number: int) -> None:
        """Job control: lend the terminal that the program stopped for, or stop too, for the shell to see."""
        if not self.supervised.foreground:
            return
        if number in (signal.SIGTTIN, signal.SIGTTOU):
            with _may_have_died():
                group = os.getpgid(self.pid)
                if self._terminal.lend(group, asked=True):
                    os.killpg(group, signal.SIGCONT)
                    return
        if self._terminal.present:
            self._stopped = True
            self._terminal.take_back()
            os.kill(0, signal.SIGTSTP)
            # Here again after `fg` or `bg`; or at once, where there is no shell to continue what has stopped.
            self.continued()


def _own_environment() -> dict[str, str]:
    """This process's environment without the variables of a rendezvous of its own."""
    others = (environment.SERVICE, environment.SERVER_PID, environment.VALIDATION, environment.GUARD_BEHAVIOR)
    return {name: value for name, value in os.environ.items() if name not in others}


def _may_have_died() -> contextlib.suppress:
    """For calls about a process that is not reaped: macOS does not find the group of a zombie.

    (sys_getpgid in bsd/kern/kern_prot.c returns ESRCH, killpg1 in bsd/kern/kern_sig.c EPERM,
    xnu-11417.121.6.)
    """
    return contextlib.suppress(ProcessLookupError, PermissionError)
