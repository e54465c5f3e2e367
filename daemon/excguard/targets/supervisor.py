"""The supervisor of the targets: starts each with an exception port, restarts it, ends all that it began.

Each target has one exception port for its whole life here, a member of one port set, so that the port alone
identifies the target of a hit. Each start of a target (`program_run.py`) is one *process group*, led by a
guardian (`guardian/guardian.c`): a small process that waits for the end of a pipe whose other end only this
process holds. The pipe closes when the target's program has exited, when the target is stopped, and, by the
kernel, when this process dies in any way. The guardian then ends whatever is left of the group: SIGTERM, a
delay, SIGKILL. So there is one way in which groups end, and nothing survives even ``kill -9`` of the
supervisor. (A group or session that a program itself creates is not ended, on purpose, as under launchd.)

The supervisor lives on an asyncio event loop of the main thread, whose SIGCHLD and SIGCONT it handles while
it runs. It reports what happens by calling ``on_event`` on that thread, in order::

    with Supervisor(host, on_event=print) as supervisor:
        supervised = supervisor.add(Target(name="app", command=("/usr/bin/true",)))
        register(supervised.port.name)   # with the receiver, before anything runs
        await supervisor.run()           # until nothing is left to do, or stop() was called
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from excguard.config import Restart, Target
from excguard.mach.errors import MachError
from excguard.mach.exception_ports import check_supported, construct_exception_port
from excguard.mach.host import Host
from excguard.mach.ports import PortSet
from excguard.native.closeable import Closeable
from excguard.process.terminal import Terminal
from excguard.targets.behavior import chosen
from excguard.targets.events import Event, Exited, ExitReason, Restarting, StartFailed
from excguard.targets.program_run import Clock, ProgramRun
from excguard.targets.rendezvous import TargetRendezvous
from excguard.targets.supervised_target import SupervisedTarget


class LoopClock:
    """The event loop's own time."""

    def time(self) -> float:
        """Seconds since some moment."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


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
            MachError: the port set cannot be allocated.
        """
        self._host = host
        self._on_event = on_event
        self._clock = clock or LoopClock()
        self._rendezvous = rendezvous
        self._terminal = Terminal()
        self._targets: list[SupervisedTarget] = []
        self._tasks: asyncio.TaskGroup | None = None  # while `run` runs
        self._runs: set[ProgramRun] = set()
        self._given_up: list[ProgramRun] = []
        self._stopping = asyncio.Event()
        self.port_set = PortSet.allocate()

    def add(self, target: Target, *, foreground: bool = False) -> SupervisedTarget:
        """Give a target an exception port. Its program is started by `run`; at once if that runs.

        Args:
            target: the program to start, and how.
            foreground: see `SupervisedTarget`.

        Raises:
            UnsupportedReleaseError: the running system does not have the target's behavior.
            MachError: the port cannot be made.
        """
        behavior = chosen(target.behavior, target.reply, self._host)
        target = msgspec.structs.replace(target, behavior=behavior)
        check_supported(behavior, self._host)
        port = construct_exception_port(self._host)
        try:
            port.move_to(self.port_set)
        except MachError:
            port.close()
            raise
        supervised = SupervisedTarget(target, foreground, port)
        self._targets.append(supervised)
        self._create_task(self._supervise(supervised))
        return supervised

    async def remove(self, supervised: SupervisedTarget) -> None:
        """End one target for good; its port is still there when this returns, see `release`."""
        supervised.stopping.set()
        for run in [run for run in self._runs if run.supervised is supervised]:
            run.end()
            await run.finished.wait()

    def hold(self) -> Callable[[], None]:
        """Keep `run` from returning, though no target may be left, until what is returned is called."""
        over = asyncio.Event()
        self._create_task(over.wait())
        return over.set

    def release(self, supervised: SupervisedTarget) -> None:
        """Close the port of a target that was removed."""
        self._targets.remove(supervised)
        supervised.port.close()

    async def run(self, *, stay: bool = False) -> None:
        """Start all targets and supervise them until none runs or will be restarted.

        With ``stay`` until `stop`, whether there are any or not.

        A program that cannot be started is reported as `StartFailed`, and restarted by the same policy as one
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
                for supervised in self._targets:
                    tasks.create_task(self._supervise(supervised))
        finally:
            self._tasks = None
            loop.remove_signal_handler(signal.SIGCHLD)
            loop.remove_signal_handler(signal.SIGCONT)

    def stop(self) -> None:
        """Begin to end all targets for good; `run` returns when they have ended. Returns at once."""
        self._stopping.set()
        for run in self._runs:
            run.end()

    def forward(self, number: int) -> None:
        """Send a signal to every running program; while there is none it counts as `stop`.

        Those of the keyboard go to its whole group, as they would from the terminal: a shell that waits for a
        command leaves it to that command to end.
        """
        running = [run for run in self._runs if run.running]
        if not running:
            self.stop()
        for run in running:
            run.signal(number, whole_group=number in (signal.SIGINT, signal.SIGQUIT))
            if number in (signal.SIGTERM, signal.SIGHUP):
                run.signal(signal.SIGCONT, whole_group=False)  # a stopped program takes it only then

    def close(self) -> None:
        """Release everything at once, ports included; guardians end the groups that still run."""
        self.stop()
        self._terminal.take_back()
        for supervised in self._targets:
            supervised.port.close()
        self.port_set.close()

    async def _supervise(self, supervised: SupervisedTarget) -> None:
        """Run a target's program, again and again as its restart policy says."""
        target = supervised.target
        delay = min(target.restart_delay, target.restart_delay_max)
        while not self._ending(supervised):
            began = self._clock.time()
            exited = await self._run_once(supervised)
            failed = exited is None or exited.reason is not ExitReason.EXITED
            if target.restart is Restart.NEVER or (target.restart is Restart.ON_FAILURE and not failed):
                return
            if self._clock.time() - began > target.restart_delay_max:
                delay = min(target.restart_delay, target.restart_delay_max)
            if not self._ending(supervised):
                self._on_event(Restarting(target, delay))
                await self._sleep(delay, supervised)
            delay = min(delay * 2, target.restart_delay_max)

    def _create_task(self, work: Coroutine[Any, Any, object]) -> None:
        """Have `run` wait for ``work`` too; without a `run`, or when that is over, nothing is done."""
        if self._tasks is not None:
            with contextlib.suppress(RuntimeError):  # the group is over: its last task has just ended
                self._tasks.create_task(work)
                return
        work.close()

    def _ending(self, supervised: SupervisedTarget) -> bool:
        return self._stopping.is_set() or supervised.stopping.is_set()

    async def _run_once(self, supervised: SupervisedTarget) -> Exited | None:
        """Run the program once, until its whole group has ended; None when it could not be started."""
        try:
            run = ProgramRun(
                supervised,
                host=self._host,
                clock=self._clock,
                terminal=self._terminal,
                rendezvous=self._rendezvous,
                on_event=self._on_event,
            )
        except OSError as error:
            self._on_event(StartFailed(supervised.target, error))
            return None
        self._runs.add(run)
        try:
            run.start()
            await run.ended.wait()
        finally:
            await run.finish()
            self._runs.remove(run)
            if not run.reap():
                self._given_up.append(run)
        return run.exited

    def _children_changed(self) -> None:
        """Handle SIGCHLD. Signals of several children may have become one, so all are polled."""
        for run in list(self._runs):
            run.poll()
        self._given_up = [run for run in self._given_up if not run.reap()]

    def _continued(self) -> None:
        """Handle SIGCONT."""
        for run in self._runs:
            run.continued()

    async def _sleep(self, seconds: float, supervised: SupervisedTarget) -> None:
        """Sleep for ``seconds``, or until ``supervised`` is to end."""
        waits = [
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._stopping.wait()),
            asyncio.ensure_future(supervised.stopping.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
