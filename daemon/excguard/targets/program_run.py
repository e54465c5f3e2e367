"""One start of a target's program, from its process group to the end of everything in that group."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Protocol

from excguard.config import Registration, Reply
from excguard.mach.errors import MachError
from excguard.mach.host import Host
from excguard.mach.rendezvous import Launch, environment
from excguard.mach.spawn import spawn
from excguard.process.guardian import ProcessGroup
from excguard.process.terminal import Terminal
from excguard.targets.events import Event, Exited, ExitReason, Started, StartFailed
from excguard.targets.self_registration import TargetRendezvous
from excguard.targets.supervised_target import SupervisedTarget


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
        self._host = host
        self._clock = clock
        self._terminal = terminal
        self._rendezvous = rendezvous
        self._on_event = on_event
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
        try:
            with supervised.port.make_send() as send, self._launch() as launched:
                launch, variables = launched or (None, {})
                by_itself = launch is not None and target.registration is Registration.RENDEZVOUS
                self.pid = spawn(
                    self._host,
                    target.command,
                    exception_port=None if by_itself else send,
                    behavior=target.behavior,
                    environment={**_own_environment(), **target.environment, **variables},
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
        supervised.pid = self.pid
        supervised.starts += 1
        with contextlib.suppress(BrokenPipeError):  # the guardian was killed: SIGCHLD reports it
            self._group.register(self.pid)
        self._on_event(Started(target, self.pid))
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

    def _launch(self) -> contextlib.AbstractContextManager[tuple[Launch, dict[str, str]] | None]:
        target = self.supervised.target
        if target.registration is Registration.SPAWN or self._rendezvous is None:
            return contextlib.nullcontext()
        return self._rendezvous.launch(target.name, self.supervised.port, target.behavior, target.guard_flags)

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
        )
        if supervised.foreground:
            self._terminal.take_back()
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
