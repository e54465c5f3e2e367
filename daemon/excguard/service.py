"""The daemon: it starts targets, receives their hits, and has them logged.

A hit is in the journal before the program that committed it runs on; everything here happens later. The
`pipeline` brings hits from the journals to the sinks, the supervisor runs the targets' programs, the
collector follows other sources. The service owns these parts and runs them on one event loop, which nothing
may block: sinks have threads of their own, and files of others are read elsewhere.
"""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from signal import SIGKILL
from typing import TYPE_CHECKING, Final, Self

import msgspec

from excguard.config import Config
from excguard.knowledge import releases
from excguard.knowledge.record import Record
from excguard.mach import bootstrap
from excguard.mach.errors import MachError
from excguard.mach.exception_ports import check_supported
from excguard.mach.host import Host
from excguard.mach.ports import PortSet
from excguard.native.closeable import Closeable
from excguard.pipeline.counter_reader import CounterReader
from excguard.pipeline.counters import Counters
from excguard.pipeline.journal import HitCounter, JournalDamagedError
from excguard.pipeline.pipeline import Pipeline
from excguard.pipeline.receiver import Receiver
from excguard.pipeline.sink import Sink
from excguard.pipeline.tally import SiteTally
from excguard.sources.collector import Collector
from excguard.sources.own_process import OwnProcess
from excguard.sources.registry import sources
from excguard.targets.attachment import Attachment
from excguard.targets.behavior import with_behaviors
from excguard.targets.events import Event, Exited, Started
from excguard.targets.log_need import with_log_where_needed
from excguard.targets.program import Program
from excguard.targets.rendezvous import TargetRendezvous
from excguard.targets.supervisor import Supervisor
from excguard.targets.target_set import TargetSet
from excguard.targets.visibility import Visibility

if TYPE_CHECKING:
    from excguard.crash_reports.symbols.symbol import Symbolizer

_TICK: Final = 1.0  # seconds between two summaries
_COALESCE: Final = 0.02  # seconds that hits wait for others after some were read
_FINISHING: Final = 5.0  # seconds without progress after which sinks are given up, where no target says


class ReceiverStoppedError(Exception):
    """The receiver has ended, and no exception is answered any more; only a new start helps."""


class Parts(Record):
    """What a service runs; each is closed by whoever opened it."""

    pipeline: Pipeline
    supervisor: Supervisor
    receiver: Receiver
    targets: TargetSet
    collector: Collector
    rendezvous: TargetRendezvous
    attachment: Attachment | None = None


class Service(Closeable):
    """One life of the daemon: `open`, `run`, `close`.

    Attributes:
        pipeline: from the journals to the sinks.
    """

    hits: list[HitCounter]
    """The hits since the start, by flavor, also those that had no room in the journal; set by `close`."""

    def __init__(
        self,
        config: Config,
        host: Host,
        parts: Parts,
        *,
        on_event: Callable[[Event], None] | None = None,
        resources: contextlib.ExitStack | None = None,
    ) -> None:
        """Run ``parts``; see `open`.

        Args:
            config: what to watch and how.
            host: the running system.
            parts: opened, in working order, not running yet.
            on_event: called with what happens to the targets, after the service has handled it.
            resources: closed by `close`.
        """
        self._config = config
        self._host = host
        self._supervisor = parts.supervisor
        self._receiver = parts.receiver
        self._targets = parts.targets
        self._collector = parts.collector
        self._rendezvous = parts.rendezvous
        self._attachment = parts.attachment
        self._on_event = on_event
        self._stack = resources or contextlib.ExitStack()
        self._wakeup = asyncio.Event()
        self._stopping = asyncio.Event()
        self._receiver_stopped = False
        self._counters = CounterReader(parts.pipeline, host)
        self._counters.watch(self._targets.states)
        self.pipeline = parts.pipeline
        self.hits = []

    @classmethod
    def open(  # noqa: PLR0913 - what differs between run, serve and attach
        cls,
        config: Config,
        host: Host,
        sinks: Sequence[Sink],
        *,
        journal: Path,
        foreground: bool = False,
        attach: int | None = None,
        check_in: str | None = None,
        on_event: Callable[[Event], None] | None = None,
        symbolizer: "Symbolizer | None" = None,
    ) -> Self:
        """Open everything that can fail, and queue what an earlier process has left in the journal.

        Args:
            config: what to watch and how.
            host: the running system.
            sinks: belong to the service from now on, also when this raises.
            journal: the path of the journal.
            foreground: the one target gets standard input and the terminal.
            attach: a process that runs already; it is the one target, and nothing is started.
            check_in: the Mach service to take over from launchd.
            on_event: see `Service`.
            symbolizer: names the places of hits. It is asked on the event loop, one time a place.

        Raises:
            JournalError: the journal or the table of targets beside it cannot be used.
            UnsupportedReleaseError: the running system is too old for a target's behavior.
            MachError: the kernel refuses a port.
        """
        config = with_log_where_needed(with_behaviors(config, host), host)
        with contextlib.ExitStack() as stack:
            all_sources = sources(symbolizer)
            pipeline = stack.enter_context(Pipeline(config, host, journal, sinks, all_sources))
            collector = Collector(config, pipeline, all_sources)
            rendezvous = TargetRendezvous(_rendezvous_name(check_in), pipeline.emit)
            stack.callback(rendezvous.close)
            supervisor = Supervisor(
                host,
                on_event=lambda event: service.handle(event),  # noqa: PLW0108 - it is made below
                rendezvous=rendezvous,
            )
            stack.callback(supervisor.close)
            receiver = stack.enter_context(Receiver(pipeline.live.journal, supervisor.port_set.name))
            targets = TargetSet(host, pipeline, supervisor, receiver, symbolizer)
            attachment = None
            for target in config.target:
                if attach is not None:
                    attachment = stack.enter_context(targets.attach(attach, target))
                else:
                    targets.add(target, foreground=foreground)
            if check_in is not None:
                _check_in(check_in, pipeline, supervisor.port_set, stack)
            parts = Parts(pipeline, supervisor, receiver, targets, collector, rendezvous, attachment)
            service = cls(config, host, parts, on_event=on_event, resources=stack.pop_all())
            return service

    # ---- running ----

    async def run(self) -> None:
        """Run the targets until none is left to look after, and log every hit on the way.

        Raises:
            ReceiverStoppedError: no exception is received any more.
            JournalDamagedError: another program has changed the journal.
        """
        self.pipeline.emit(
            "info", "service_started", kernel=self._host.kernel, release=f"macOS {self._host.release}"
        )
        if doubt := releases.doubt(self._host.release, self._host.kernel):
            self.pipeline.emit("warning", "release_in_doubt", reason=doubt)
        main = asyncio.create_task(self._supervise())
        helpers = [asyncio.create_task(part) for part in (self._read(), self._tick(), self._collector.run())]
        try:
            # The helpers do not end by themselves: one that does has failed, and its error ends the service.
            done, _ = await asyncio.wait([main, *helpers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if self._config.crash_reports.wait and not self._stopping.is_set():
                await self._collector.wait_for_reports(self._config.crash_reports.wait)
        finally:
            for task in (main, *helpers):
                task.cancel()
            await asyncio.gather(main, *helpers, return_exceptions=True)

    def stop(self) -> None:
        """Begin to end all targets, or to detach; `run` returns when that is done."""
        self._stopping.set()
        self._supervisor.stop()

    def forward(self, signal: int) -> None:
        """Pass a signal on to the targets."""
        self._supervisor.forward(signal)

    def visibility(self, target: str) -> Visibility | None:
        """Where the hits of a target can be seen, as it is known by now; None before its first start."""
        return self._targets.visibility(target)

    def program(self, target: str) -> Program | None:
        """The last start of a target's program; None before the first."""
        return self._targets.started(target)

    def processes(self, target: str) -> list[OwnProcess]:
        """The processes that are known to have been a target's."""
        program = self._targets.started(target)
        found = {one.pid: one for one in self._collector.processes(self._targets.number(target))}
        for pid, seen_ns in (program.last_seen if program else {}).items():
            one = found.get(pid, OwnProcess(pid, None, 0, fatal=False))
            found[pid] = one._replace(seen_ns=max(one.seen_ns, seen_ns))
        return list(found.values())

    def ready(self) -> bool:
        """Whether exceptions are being received."""
        return self._receiver.running

    def counters(self) -> Counters:
        """Everything that is counted, as it is now; from any thread. Raises CountersClosedError."""
        return self._counters.read(
            self._collector.failures.copy(),
            self._collector.telemetry.copy(),
            receiving=self._receiver.running,
        )

    @property
    def tally(self) -> list[SiteTally]:
        """The hits since the start by site, without those that had no room in the journal."""
        return self.pipeline.tally

    def handle(self, event: Event) -> None:
        """Handle what happened to a target."""
        match event:
            case Started(target=target, pid=pid):
                self._collector.started(pid, self._targets.number(target.name))
            case Exited(pid=pid, signal=signal):
                self._collector.exited(pid, killed=signal == SIGKILL)
        self._targets.handle(event)
        if self._on_event is not None:
            self._on_event(event)

    async def _supervise(self) -> None:
        if self._attachment is not None:
            await self._attachment.ended(self._stopping.is_set)
            return
        try:
            # With programs to watch that are not started here, there is work without any target.
            await self._supervisor.run(stay=self._config.watches_others)
        except ExceptionGroup as group:  # a task for each target; they mostly fail for the same reason
            raise group.exceptions[0] from None

    async def _read(self) -> None:
        """Read records whenever the receiver or a sink says that there is something to do."""
        loop = asyncio.get_running_loop()
        self.pipeline.on_progress = lambda: _call_soon(loop, self._wakeup.set)
        loop.add_reader(self._receiver.wakeup, self._woken)
        try:
            while True:
                self._wakeup.clear()
                if not await self._drain():
                    self._receiver.arm()
                    if not await self._drain():
                        await self._wakeup.wait()
                        continue
                # The first hit after a silence is read at once; those that follow it come together, and
                # the receiver does not have to wake this thread for them.
                await asyncio.sleep(_COALESCE)
        finally:
            loop.remove_reader(self._receiver.wakeup)

    def _woken(self) -> None:
        self._receiver.acknowledge()
        self._wakeup.set()

    async def _drain(self) -> bool:
        """Read records until there are no more; False when there were none."""
        found = False
        while self.pipeline.read():
            found = True
            await asyncio.sleep(0)  # a storm must not keep everything else waiting
        return found

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            if not self._receiver.running:
                self._receiver_stopped = True
                self.pipeline.emit("error", "receiver_stopped", error=self._receiver.last_error)
                raise ReceiverStoppedError(f"the receiver has stopped: {self._receiver.last_error}")
            if damage := self.pipeline.damage:
                self.pipeline.emit("error", "journal_damaged", error=damage)
                raise JournalDamagedError(damage)
            self._report()
            self.pipeline.settle()
            self._wakeup.set()

    def _report(self) -> None:
        """Log what has only been counted since the last time."""
        self.pipeline.report()
        self._collector.report()
        if self._receiver.running:
            self._targets.report()

    # ---- reloading ----

    def check(self, config: Config) -> None:
        """Refuse a configuration that this system cannot carry out.

        Raises:
            UnsupportedReleaseError: a behavior that this release does not have.
        """
        for target in with_behaviors(config, self._host).target:
            check_supported(target.behavior, self._host)

    async def reload(self, config: Config) -> None:
        """Go over to another configuration, which `check` has accepted.

        Targets that are the same in both run on untouched; the others are ended, and started if they are
        still wanted. `needs_restart` says what else takes a new start.

        Raises:
            JournalError: the names of new targets cannot be written; nothing has changed then.
        """
        self.pipeline.names.number(target.name for target in config.target)
        config = with_log_where_needed(with_behaviors(config, self._host), self._host)
        self._config = config
        self.pipeline.limit(config.log)
        self._collector.reload(config)
        try:
            await self._targets.change(config.target)
        finally:
            self._counters.watch(self._targets.states)

    # ---- ending ----

    def close(self) -> bool:
        """Stop receiving, have everything logged, and release everything; False when a log did not take all.

        What a log did not take stays in the journal for the next start.
        """
        timeout = max((target.stop_timeout for target in self._config.target), default=_FINISHING)
        complete = False
        with self._kernel_may_be_gone(), self._stack:  # everything is closed, whatever happens here
            if self._attachment is not None and (error := self._attachment.detach()):
                self.pipeline.emit("error", "detach_failed", pid=self._attachment.pid, error=str(error))
            with self._kernel_may_be_gone():
                self._rendezvous.close()
            self._receiver.close()
            self._collector.finish()
            self._report()
            finished = self.pipeline.finish(timeout, from_progress=not self._stopping.is_set())
            self.hits = self.pipeline.hits_since_start()
            by_severity = Counter[str]()
            for counter in self.hits:
                by_severity[counter.severity] += counter.hits
            self.pipeline.emit(
                "info", "service_stopped", hits=by_severity.total(), by_severity=dict(by_severity)
            )
            complete = self.pipeline.finish(timeout if finished else 0, from_progress=False)
        return complete  # noqa: RET504 - an exception may have ended the block

    def _kernel_may_be_gone(self) -> contextlib.AbstractContextManager[None]:
        """Ports of a kernel that is gone cannot be closed; what is not done with ports goes on."""
        return contextlib.suppress(MachError) if self._receiver_stopped else contextlib.nullcontext()


def needs_restart(old: Config, new: Config) -> list[str]:
    """What differs between two configurations and takes effect with the next start only."""
    keys = {
        "log.format": (old.log.format, new.log.format),
        "log.explain": (old.log.explain, new.log.explain),
        "log.path": (not old.log.path, not new.log.path),  # between a file and standard error
        "journal": (old.journal, new.journal),
        "metrics": (
            msgspec.structs.replace(old.metrics, listen=""),
            msgspec.structs.replace(new.metrics, listen=""),
        ),
        "crash_reports.enabled": (old.crash_reports.enabled, new.crash_reports.enabled),
        "otlp": (old.otlp, new.otlp),
        "webhook": (old.webhook, new.webhook),
        "unified_log.enabled": (old.unified_log.enabled, new.unified_log.enabled),
    }
    return [key for key, (before, after) in keys.items() if before != after]


def _check_in(name: str, pipeline: Pipeline, port_set: PortSet, stack: contextlib.ExitStack) -> None:
    """Take over the port of our service, which launchd holds for us.

    Nothing is served there: a message to it only makes launchd start us. Messages are refused and counted
    like any that is sent to a port of no target.
    """
    try:
        port = stack.enter_context(bootstrap.check_in(name))
        port.move_to(port_set)
    except MachError as error:
        pipeline.emit("warning", "check_in_failed", service=name, error=error.name, advice=error.advice)
    else:
        pipeline.emit("info", "checked_in", service=name)


def _rendezvous_name(job: str | None) -> str:
    """The Mach service for targets that fetch their exception port: one that a launchd job declares."""
    return f"{job}.rendezvous" if job is not None else f"org.excguard.rendezvous.{os.getpid()}"


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Have ``function`` called on the loop, from any thread; nothing when the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)
