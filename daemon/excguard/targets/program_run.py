"""One start of a target's program, from its process group to the end of everything in that group."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from excguard.config import Registration, Reply
from excguard.mach import children, processes
from excguard.mach.errors import MachError
from excguard.mach.host import Host
from excguard.mach.rendezvous import environment
from excguard.mach.spawn import find_program, spawn
from excguard.process.guardian import ProcessGroup
from excguard.process.terminal import Terminal
from excguard.targets.delivery import plan
from excguard.targets.events import Event, Exited, ExitReason, GroupEnded, NotEnded, Started, StartFailed
from excguard.targets.program import FIRST_LOOK, Program
from excguard.targets.rendezvous import TargetLaunch, TargetRendezvous
from excguard.targets.supervised_target import SupervisedTarget

_LAST_LOOK: Final = 0.5  # seconds between two looks at a program's processes, in the end
_LAST_LOOK_FOR_NAMES: Final = 2.0  # where processes without the library lose no hits
_LEFT: Final = 0.02  # seconds between two looks for processes that are left
_RELEASING: Final = 25  # such looks after the end of a group
_GUARDIAN: Final = 2.5  # seconds beyond its grace for a guardian, which waits 2 of them after SIGKILL
_KILLING: Final = 1.0  # seconds that all may take to end after SIGKILL from here


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
        self._hastening: asyncio.Task[None] | None = None
        self._stopped = False
        self._began = 0.0
        self._seconds: float | None = None  # how long the program has run, once it has ended
        self._left = 0
        self._unreaped = 0  # the program's pid, when it was given up
        self._asked = False  # whether the end of the group had begun before
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
            last = supervised.program
            chosen = plan(
                target,
                Path(path),
                self._host,
                environment,
                ended_with_library=last is not None and last.ended_with_library,
            )
            program = Program(chosen)
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
            self.end()
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
        if self._hastening is None:
            with contextlib.suppress(RuntimeError):  # without a loop nothing waits for the end
                loop = asyncio.get_running_loop()
                self._hastening = loop.create_task(self._hasten())

    @property
    def running(self) -> bool:
        """Whether the program runs."""
        return self.pid != 0 and self._seconds is None

    def poll(self) -> None:
        """Look at the program and at its group, after a SIGCHLD."""
        if self.running:
            self._poll_program()
        if not self._group.poll() or self.ended.is_set():
            return
        # A guardian that was killed has left members behind.
        self._kill()
        if not self.running:
            self._finish()

    def reap(self) -> bool:
        """Reap what was given up when `finished` was set; False when that has still not ended."""
        if self._unreaped and children.reap(self._unreaped) is not None:
            self._unreaped = 0
        return self._group.reap() and not self._unreaped

    async def _hasten(self) -> None:
        """End the group from here when the guardian does not: a program can stop it, or trace it."""
        await asyncio.sleep(self.supervised.target.stop_timeout + _GUARDIAN)
        self._kill()
        await asyncio.sleep(_KILLING)
        if not self.ended.is_set():
            self._on_event(NotEnded(self.supervised.target, self.pid or self._group.number))
            self._finish()

    def _kill(self) -> None:
        """End everything with SIGKILL, which also ends what is stopped or traced."""
        self._group.kill()
        if self.pid:
            for kill in (os.killpg, os.kill):  # its number is its own, and that of the group that it leads
                with _may_have_died():
                    kill(self.pid, signal.SIGKILL)

    def _finish(self) -> None:
        """Everything has ended, or will not: reap it."""
        if self.pid:
            self._reap()
        self._group.reap()
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
        if not self.supervised.foreground or not self.running:
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
        delay = FIRST_LOOK
        last = _LAST_LOOK if program.plan.children_watched else _LAST_LOOK_FOR_NAMES
        while True:
            await asyncio.sleep(delay)
            program.look(delay)
            delay = min(delay * 1.1, last)

    def _some_left(self, program: Program) -> bool:
        """Whether a process of the program still runs, in its group or outside of it.

        A process that nothing has seen can be one of them: it has the exception port.
        """
        return self.supervised.port.has_senders() or program.left(self._group.number) > 0

    async def _wait_for_all(self, program: Program) -> None:
        """End the group when no process of the program is left."""
        while self._some_left(program):  # noqa: ASYNC110 - there is no event for processes of others
            await asyncio.sleep(_LEFT)
        self.end()

    async def finish(self) -> None:
        """End the program and its group, and wait for that; an event reports it."""
        self.end()
        await self.ended.wait()
        for task in (self._looking, self._waiting, self._hastening):
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
        if not children.has_ended(self.pid):
            if number := children.stop_signal(self.pid):
                self._program_stopped(number)
            return
        self._seconds = self._clock.time() - self._began
        self._left = self._program.left(self._group.number) if self._program else 0
        self._asked = self._group.ending
        if self._rendezvous is not None:
            self._rendezvous.forget(self.pid)
        if self.supervised.foreground:
            self._terminal.take_back()
        # The guardian ends the members of a group that it leads by its number.
        led = set(processes.group(self.pid)) - {self.pid}
        if not led:
            self._group.withdraw()
        if self.supervised.target.wait_all and self._program and not self._asked:
            self._waiting = asyncio.get_running_loop().create_task(self._wait_for_all(self._program))
        else:
            self.end()
        if not led:
            self._reap()

    def _reap(self) -> None:
        """Reap the program; an event reports how it has ended."""
        supervised = self.supervised
        pid, self.pid, supervised.pid = self.pid, 0, 0
        code = children.reap(pid)
        if code is None:
            self._unreaped = pid
            code = -signal.SIGKILL  # which it was sent
        if self._seconds is None:
            self._seconds, self._asked = self._clock.time() - self._began, True
        self.exited = Exited(
            supervised.target,
            pid,
            status=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            reason=ExitReason.STOPPED if self._asked else ExitReason.of(code),
            seconds=self._seconds,
            left=self._left,
        )
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
