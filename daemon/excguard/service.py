"""The daemon: receiver -> journal -> drain -> sinks, and the targets that it is all about.

A hit is in the journal before the program that committed it runs on; everything here happens later and at
leisure. `drain.py` says how hits get from there into the logs, `supervisor.py` how targets live.
"""

import asyncio
import contextlib
import os
import queue
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import Any

import msgspec

from excguard.config import Config, Target
from excguard.knowledge import releases
from excguard.mach import bootstrap
from excguard.mach.errors import MachError
from excguard.mach.exception_ports import check_supported
from excguard.mach.host import Host
from excguard.native.closeable import Closeable
from excguard.pipeline.counters import Counters, CountersClosedError, Replies, TargetState
from excguard.pipeline.drain import Drain, Sink, SiteTally
from excguard.pipeline.hit import Source
from excguard.pipeline.hit_table import HitTable
from excguard.pipeline.journal import HitCounter, Journal, JournalError
from excguard.pipeline.rate_limit import SiteLimiter
from excguard.pipeline.receiver import Receiver
from excguard.pipeline.target_names import TargetNames
from excguard.sinks.log import EventLog, Level
from excguard.sources.collector import Intake, journals_of
from excguard.targets.attachment import Attachment
from excguard.targets.events import Event, Exited, ExitReason, Restarting, Started, StartFailed
from excguard.targets.self_registration import TargetRendezvous
from excguard.targets.supervised_target import SupervisedTarget
from excguard.targets.supervisor import Supervisor
from excguard.web.live_feed import LiveFeed

_TICK = 1.0  # seconds between two summaries
_OTHERS_CAPACITY = 8192  # records of each other source that can wait for the log


@dataclass
class _Watched:
    """What the service knows of a target."""

    number: int
    supervised: SupervisedTarget | None = None  # None: a process that was not started here
    no_senders: int = 0  # as often as it has been told that nobody holds the port any more
    state: TargetState = field(default_factory=lambda: TargetState(exits={r.value: 0 for r in ExitReason}))


class Service(Closeable):
    """One life of the daemon, from construction to `close`; `run` is its middle."""

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        config: Config,
        host: Host,
        logs: Sequence[EventLog],
        *,
        journal: Path,
        foreground: bool = False,
        attach: int | None = None,
        check_in: str | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """Open everything that can fail, log what an earlier life has left in the journal, start nothing yet.

        Args:
            config: what to watch and how.
            host: the running system.
            logs: where hits and events are told, each in its own form.
            journal: the path of the journal.
            foreground: the one target gets standard input and the terminal.
            attach: a process that runs already; it is the one target, and nothing is started.
            check_in: the Mach service to take over from launchd.
            on_event: told what happens to the targets, after the service has taken note.

        Raises:
            JournalError: the journal or the table of targets beside it cannot be used.
            UnsupportedReleaseError: the running system is too old for a target's behavior.
            MachError: the kernel would not give what is needed.
        """
        self._config = config
        self._host = host
        self._logs = logs
        self._on_event = on_event
        self._release = releases.parse(host.release)
        self._started = time.time()
        self.feed = LiveFeed(self, kernel=host.kernel, release=self._release.text)
        """What the live page shows."""
        self._rung = asyncio.Event()
        self._stopping = asyncio.Event()
        self._to_tell: queue.SimpleQueue[tuple[Level, str, dict[str, Any]]] = queue.SimpleQueue()
        self.hits: list[HitCounter] = []
        """The hits since the start, by flavor, also those that had no room in the journal; set by `close`."""
        with contextlib.ExitStack() as stack:
            self.journal = stack.enter_context(
                Journal(journal, capacity=config.journal.capacity, release=self._release.version)
            )
            self._others = {
                source: stack.enter_context(
                    Journal(path, capacity=_OTHERS_CAPACITY, release=self._release.version)
                )
                for source, path in journals_of(config, journal)
            }
            journals = [self.journal, *self._others.values()]
            self._names = TargetNames(
                journal, [counter.target_id for one in journals for counter in one.hit_counters()]
            )
            self._names.number(target.name for target in config.target)
            self._targets: dict[str, _Watched] = {}  # exchanged, never changed: other threads read it
            self._before = [
                (one, {_key(counter): counter.hits for counter in one.hit_counters()}) for one in journals
            ]
            self._lost = self.journal.lost
            self._rejected = self.journal.rejected()
            self._table = self._hit_table()
            sinks: list[Sink] = [*logs, self.feed]
            self._limiters = [SiteLimiter(config.log.first, config.log.window) for _ in journals]
            self._drain = Drain(self.journal, sinks, self._limiters[0], self._names, host)
            self._other_drains = {
                source: Drain(one, sinks, limiter, self._names, host, source=source)
                for (source, one), limiter in zip(self._others.items(), self._limiters[1:], strict=True)
            }
            self._intake = Intake(
                config,
                self._others,
                self.journal,
                number_of=lambda name: self._names.number([name])[0],
                drain=self._drain_others,
                drain_live=self._drain.all,
                tell=self.tell,
            )
            if self._others:
                self._drain.on_record = self._intake.live_hit
            for one in journals:
                if one.pending:
                    self.tell("warning", "journal_recovered", records=one.pending, journal=str(one.path))
            self._drain.all()
            self._drain_others()
            self._rendezvous = TargetRendezvous(_rendezvous_name(check_in), self.tell_soon)
            stack.callback(self._rendezvous.close)
            self._supervisor = Supervisor(host, on_event=self._target_event, rendezvous=self._rendezvous)
            stack.callback(self._supervisor.close)
            self._receiver = stack.enter_context(Receiver(self.journal, self._supervisor.port_set.name))
            self._attachment: Attachment | None = None
            for target in config.target:
                if attach is not None:
                    self._attachment = stack.enter_context(self._attach(attach, target))
                else:
                    self._add(target, foreground=foreground)
            self._table = self._hit_table()
            if check_in is not None:
                self._check_in(check_in, stack)
            self._stack = stack.pop_all()

    async def run(self) -> None:
        """Run the targets until none is left to look after, and log every hit on the way."""
        self.tell("info", "service_started", kernel=self._host.kernel, release=self._release.text)
        main = asyncio.create_task(self._supervise())
        helpers = [
            asyncio.create_task(helper)
            for helper in (self._drain_on_bell(), self._tick(), self._intake.run())
        ]
        try:
            # The helpers never end of themselves: when one does, it has failed, and its error ends us.
            done, _ = await asyncio.wait([main, *helpers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if self._config.crash_reports.wait and not self._stopping.is_set():
                await self._intake.wait_for_reports(self._config.crash_reports.wait)
        finally:
            for task in (main, *helpers):
                task.cancel()
            await asyncio.gather(main, *helpers, return_exceptions=True)

    async def _supervise(self) -> None:
        if self._attachment is not None:
            await self._attachment.ended(self._stopping.is_set)
            return
        try:
            # With others' programs to look at, there is work to do without any of our own.
            await self._supervisor.run(stay=self._config.watches_others)
        except ExceptionGroup as group:  # a task for each target; what ails one mostly ails all
            raise group.exceptions[0] from None

    def stop(self) -> None:
        """Begin to end all targets, or to detach; `run` returns when that is done."""
        self._stopping.set()
        self._supervisor.stop()

    # ---- targets that come and go ----

    def _add(self, target: Target, *, foreground: bool = False) -> None:
        """Give a target its number and its port; its program starts with `run`, or at once if that runs."""
        (number,) = self._names.number([target.name])
        supervised = self._supervisor.add(target, foreground=foreground)
        self._targets = {**self._targets, target.name: _Watched(number, supervised)}
        self._drain.own_pids.setdefault(number, set())
        # Before the program can have the port: what comes to a port that the receiver does not know is
        # refused.
        self._receiver.add_target(supervised.port.name, number, target.reply)

    async def _remove(self, name: str) -> None:
        """End a target's program and forget it."""
        watched = self._targets[name]
        assert watched.supervised is not None  # noqa: S101 - nothing is reloaded while attached
        await self._supervisor.remove(watched.supervised)
        self._receiver.remove_target(watched.number)
        self._supervisor.release(watched.supervised)
        self._targets = {other: watched for other, watched in self._targets.items() if other != name}

    def _attach(self, pid: int, target: Target) -> Attachment:
        """Watch a process that runs already."""
        (number,) = self._names.number([target.name])
        attachment = Attachment(self._host, pid, target.behavior, self._supervisor.port_set)
        self._targets = {target.name: _Watched(number)}
        self._drain.own_pids[number] = {pid}
        self._receiver.add_target(attachment.port.name, number, target.reply)
        self._receiver.set_pid(number, pid)
        try:
            replaced = attachment.attach()
        except MachError:
            attachment.close()
            raise
        self._targets[target.name].state.up = True
        self.tell("info", "target_attached", target=target.name, pid=pid, replaced_handler=replaced)
        return attachment

    def check(self, config: Config) -> None:
        """Refuse a configuration that this system cannot carry out.

        Raises:
            UnsupportedReleaseError: a behavior that this release does not have.
        """
        for target in config.target:
            check_supported(target.behavior, self._host)

    async def reload(self, config: Config) -> None:
        """Go over to another configuration that `check` has nothing against.

        Targets that are the same in both run on untouched; the others are ended, and started if they are
        still wanted. `needs_restart` says what else would take a new start.

        Raises:
            JournalError: the names of new targets cannot be written; nothing has changed then.
        """
        self._names.number(target.name for target in config.target)
        old, self._config = self._config, config
        for limiter in self._limiters:
            limiter.change(config.log.first, config.log.window)
        self._intake.reload(config)
        before = {target.name: target for target in old.target}
        after = {target.name: target for target in config.target}
        let_go = self._supervisor.hold()  # while the last one makes room for its successor
        try:
            gone = [name for name, target in before.items() if after.get(name) != target]
            await asyncio.gather(*(self._remove(name) for name in gone))
            for target in config.target:
                if target.name not in self._targets:
                    try:
                        self._add(target)
                    except MachError as error:
                        self.tell("error", "target_start_failed", target=target.name, error=str(error))
        finally:
            self._table = self._hit_table()
            let_go()

    def _check_in(self, name: str, stack: contextlib.ExitStack) -> None:
        """Take over the port of our service, which launchd holds for us.

        Nothing is served there: who writes to it only makes launchd start us. What comes is refused and
        counted like anything that is sent to a port of no target.
        """
        try:
            port = stack.enter_context(bootstrap.check_in(name))
            port.move_to(self._supervisor.port_set)
        except MachError as error:
            self.tell("warning", "check_in_failed", service=name, error=error.name, advice=error.advice)
        else:
            self.tell("info", "checked_in", service=name)

    def forward(self, signal: int) -> None:
        """Pass a signal on to the targets."""
        self._supervisor.forward(signal)

    @property
    def tally(self) -> list[SiteTally]:
        """The hits since the start by site, without those that had no room in the journal."""
        drains = [self._drain, *self._other_drains.values()]
        return [tally for drain in drains for tally in drain.tally.values()]

    def ready(self) -> bool:
        """Whether exceptions are being received."""
        return self._receiver.running

    def close(self) -> bool:
        """Stop receiving, log all that is left, and let go of everything; False when not all could be.

        What the log would not take stays in the journal for the next start.
        """
        with self._stack:  # everything is let go of, whatever happens here
            if self._attachment is not None and (error := self._attachment.detach()):
                self.tell("error", "detach_failed", pid=self._attachment.pid, error=str(error))
            self._rendezvous.close()
            self._receiver.close()
            self._drain.all()
            self._intake.finish()
            self._look_around()
            self.hits = self._hits_since_start()
            by_severity = Counter[str]()
            for counter in self.hits:
                by_severity[counter.severity] += counter.hits
            self.tell("info", "service_stopped", hits=by_severity.total(), by_severity=dict(by_severity))
            return self._drain.all() and self._drain_others()

    # ---- counters, for the metrics; any thread ----

    def counters(self) -> Counters:
        """Everything that is counted, as it is now. Raises CountersClosedError after `close`."""
        try:
            hits, by_target = self._table.read()
            replies = self.journal.replies()
            sources = {Source.LIVE: self.journal, **self._others}
            received = {(name, source.value): 0 for name in self._targets for source in sources}
            for source, counted in zip(sources, by_target, strict=True):
                received |= {(target, source.value): count for target, count in counted.items()}
            return Counters(
                hits=hits,
                exemplars=self.feed.exemplars,
                made=self.journal.made,
                counting_since=self.journal.counting_since,
                started=self._started,
                received=received,
                rejected=self.journal.rejected(),
                replies=Replies(replies.bounds_ns, replies.counts, replies.sum_ns),
                records_lost=sum(journal.lost for journal in sources.values()),
                records_pending=self.journal.pending,
                records_capacity=self.journal.capacity,
                drain_lag=self.journal.waiting_seconds,
                log_suppressed={
                    name: sum(limiter.suppressed[watched.number] for limiter in self._limiters)
                    for name, watched in self._targets.items()
                },
                source_failures=self._intake.failures,
                log_write_failures=sum(log.output.failures for log in self._logs),
                targets={name: watched.state for name, watched in self._targets.items()},
            )
        except JournalError as error:
            raise CountersClosedError(str(error)) from error

    def _hits_since_start(self) -> list[HitCounter]:
        counted = [
            counter._replace(hits=counter.hits - before.get(_key(counter), 0))
            for journal, before in self._before
            for counter in journal.hit_counters()
        ]
        return [counter for counter in counted if counter.hits]

    # ---- the loop ----

    async def _drain_on_bell(self) -> None:
        """Deal with records whenever the bell says that there are some."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._receiver.bell, self._rung.set)
        try:
            while True:
                self._rung.clear()
                self._receiver.ring()
                while self._drain.batch():  # noqa: ASYNC110 - nothing to wait for: there is work
                    await asyncio.sleep(0)  # a storm must not keep everything else waiting
                await self._rung.wait()
        finally:
            loop.remove_reader(self._receiver.bell)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._look_around()
            self._drain.settle()
            self._drain_others()
            self._rung.set()  # the log may have been stuck, and the bell rings only once

    def _hit_table(self) -> HitTable:
        """The counters of all journals, with the targets that there are now."""
        return HitTable(
            [self.journal, *self._others.values()],
            self._names.name,
            self._targets,
            self._host.release,
            self._release.version,
        )

    def _look_around(self) -> None:
        """Log what has come up since the last time: other threads, lost records, refused messages."""
        with contextlib.suppress(queue.Empty):
            while True:
                level, name, fields = self._to_tell.get_nowait()
                self.tell(level, name, **fields)
        lost = self.journal.lost
        if lost > self._lost:
            self.tell("error", "journal_records_lost", count=lost - self._lost, total=lost)
        self._lost = lost
        rejected = self.journal.rejected()
        for reason, total in rejected.items():
            if total > self._rejected[reason]:
                count = total - self._rejected[reason]
                self.tell("warning", "messages_rejected", reason=reason, count=count, total=total)
        self._rejected = rejected
        self._intake.look_around()
        if not self._receiver.running:
            return
        for name, watched in self._targets.items():
            times = self._receiver.no_senders(watched.number)
            if times > watched.no_senders:
                self.tell("info", "target_no_senders", target=name)
            watched.no_senders = times

    def _drain_others(self) -> bool:
        """Log what came from other sources. False when a log did not take it all."""
        told = True
        for drain in self._other_drains.values():
            told = drain.all() and told
        return told

    def tell_soon(self, level: Level, name: str, **fields: Any) -> None:  # noqa: ANN401 - likewise
        """Log an event, from any thread: within a second."""
        self._to_tell.put((level, name, fields))

    def tell(self, level: Level, name: str, **fields: Any) -> None:  # noqa: ANN401 - whatever JSON can say
        """Log an event."""
        for log in self._logs:
            log.event(level, name, **fields)

    def _target_event(self, event: Event) -> None:
        """The supervisor tells what happens to a target."""
        name = event.target.name
        watched = self._targets[name]
        match event:
            case Started(pid=pid):
                watched.state.up = True
                watched.state.starts += 1
                self._drain.own_pids[watched.number].add(pid)
                self._receiver.set_pid(watched.number, pid)
                self._intake.started(pid, watched.number)
                self.tell("info", "target_started", target=name, pid=pid)
            case Exited(pid=pid, status=status, signal=signal, reason=reason, seconds=seconds):
                watched.state.up = False
                watched.state.exits[reason.value] += 1
                self._receiver.set_pid(watched.number, 0)
                self._intake.exited(pid, killed=signal == SIGKILL)
                self._drain.batch()  # what it did is told before its end
                good = reason in (ExitReason.EXITED, ExitReason.STOPPED)
                self.tell(
                    "info" if good else "warning",
                    "target_exited",
                    target=name,
                    pid=pid,
                    reason=reason.value,
                    status=status,
                    signal=signal,
                    seconds=round(seconds, 3),
                )
            case StartFailed(reason=why):
                self.tell("error", "target_start_failed", target=name, error=why)
            case Restarting(delay=delay):
                self.tell("info", "target_restarting", target=name, delay=delay)
        self._drain.flush()
        if self._on_event is not None:
            self._on_event(event)


def _key(counter: HitCounter) -> tuple[int, int, int]:
    return counter.target_id, counter.guard_type, counter.flavor


def needs_restart(old: Config, new: Config) -> list[str]:
    """What differs between two configurations and takes effect with the next start only."""
    keys = {
        "log.format": (old.log.format, new.log.format),
        "log.path": (not old.log.path, not new.log.path),  # between a file and standard error
        "journal": (old.journal, new.journal),
        "metrics": (
            msgspec.structs.replace(old.metrics, listen=""),
            msgspec.structs.replace(new.metrics, listen=""),
        ),
        "crash_reports.enabled": (old.crash_reports.enabled, new.crash_reports.enabled),
        "unified_log.enabled": (old.unified_log.enabled, new.unified_log.enabled),
    }
    return [key for key, (before, after) in keys.items() if before != after]


def _rendezvous_name(job: str | None) -> str:
    """The Mach service for targets that fetch their exception port: one that a launchd job declares."""
    return f"{job}.rendezvous" if job is not None else f"org.excguard.rendezvous.{os.getpid()}"
