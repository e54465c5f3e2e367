"""The daemon: receiver -> journal -> drain -> sinks.

A hit is in the journal before the program that committed it runs on; everything here happens later and at
leisure. The drain reads records in batches and hands each to the log, whole or counted
(`sinks/rate_limit.py`). Records are given back to the journal only after every line that tells of them has
been written, so a kill at any moment means that the next start logs them again, with the same ``seq`` and
marked as recovered, and never that they are missing.

Hits that are summed up are told when their summary is written. So their records stay in the journal until
then: for a second at most, and less when they fill half the ring or reach its end.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from excguard.config import Config, Target
from excguard.decode import decode
from excguard.hit import Hit
from excguard.journal import HitCounter, Journal
from excguard.knowledge import flavors, releases
from excguard.mach.exception_ports import Behavior
from excguard.mach.host import Host
from excguard.native import lib
from excguard.receiver import Receiver
from excguard.sinks.log import EventLog, Level
from excguard.sinks.metrics import Counters, Hits, Replies, TargetState
from excguard.sinks.rate_limit import SiteLimiter
from excguard.supervisor import (
    Event,
    Exited,
    ExitReason,
    Restart,
    Restarting,
    Started,
    StartFailed,
    Supervisor,
)
from excguard.supervisor import Target as Supervised
from excguard.target_names import TargetNames

_BATCH = 2048  # records between two looks at everything else that waits
_TICK = 1.0  # seconds between two summaries
_BEHAVIORS = {4: "identity_protected", 5: "state_identity_protected"}  # mach/exception_types.h
_MOST_SITES = 10_000  # of which the tally keeps the counts apart


@dataclass(slots=True)
class SiteTally:
    """All hits that one site has had since the start, with the numbers of the first."""

    target: str
    code: int
    subcode: int
    release: str
    pc: int
    hits: int = 0


@dataclass
class _Watched:
    """What the service knows of a configured target."""

    number: int
    state: TargetState = field(default_factory=lambda: TargetState(exits={r.value: 0 for r in ExitReason}))
    pids: set[int] = field(default_factory=set)  # every process that was the target's own


class Service:
    """One life of the daemon, from construction to `close`; `run` is its middle."""

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        config: Config,
        host: Host,
        logs: Sequence[EventLog],
        *,
        journal: Path,
        foreground: bool = False,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """Open everything that can fail, log what an earlier life has left in the journal, start nothing yet.

        Args:
            config: what to watch and how.
            host: the running system.
            logs: where hits and events are told, each in its own form.
            journal: the path of the journal.
            foreground: the one target gets standard input and the terminal.
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
        self._limiter = SiteLimiter(config.log.first, config.log.window)
        self._read = 0  # records of the journal that have been dealt with and not yet given back
        self._rung = asyncio.Event()
        self._stuck = False  # a log could not be written, and lines wait for it
        self.tally: dict[tuple[int, int, int], SiteTally] = {}
        """The hits since the start, by site."""
        self.hits: list[HitCounter] = []
        """The hits since the start, by flavor, also those that had no room in the journal; set by `close`."""
        with contextlib.ExitStack() as stack:
            self.journal = stack.enter_context(
                Journal(journal, capacity=config.journal.capacity, release=self._release.version)
            )
            self._names = TargetNames(journal, [counter.target_id for counter in self.journal.hit_counters()])
            numbers = self._names.number(target.name for target in config.target)
            self._targets = {
                target.name: _Watched(number) for target, number in zip(config.target, numbers, strict=True)
            }
            self._before = {_key(counter): counter.hits for counter in self.journal.hit_counters()}
            self._lost = self.journal.lost
            self._rejected = self.journal.rejected()
            self._expected = _expected_flavors(self._release.version)
            self._recover()
            self._supervisor = Supervisor(host, on_event=self._target_event)
            stack.callback(self._supervisor.close)
            watched = [
                (target, self._supervisor.add(_supervised(config, target, foreground=foreground)))
                for target in config.target
            ]
            self._receiver = stack.enter_context(Receiver(self.journal, self._supervisor.port_set.name))
            for target, supervised in watched:
                number = self._targets[target.name].number
                self._receiver.add_target(supervised.port.name, number, config.reply_of(target))
            self._stack = stack.pop_all()

    async def run(self) -> None:
        """Run the targets until none is left to look after, and log every hit on the way."""
        self._event("info", "service_started", kernel=self._host.kernel, release=self._release.text)
        main = asyncio.create_task(self._supervisor.run())
        helpers = [asyncio.create_task(self._drain()), asyncio.create_task(self._tick())]
        try:
            # The helpers never end of themselves: when one does, it has failed, and its error ends us.
            done, _ = await asyncio.wait([main, *helpers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (main, *helpers):
                task.cancel()
            await asyncio.gather(main, *helpers, return_exceptions=True)

    def stop(self) -> None:
        """Begin to end all targets; `run` returns when they have ended."""
        self._supervisor.stop()

    def forward(self, signal: int) -> None:
        """Pass a signal on to the targets."""
        self._supervisor.forward(signal)

    def ready(self) -> bool:
        """Whether exceptions are being received."""
        return self._receiver.running

    def close(self) -> bool:
        """Stop receiving, log all that is left, and let go of everything; False when not all could be.

        What the log would not take stays in the journal for the next start.
        """
        self._receiver.close()
        self._drain_all()
        self._look_around()
        self._event("info", "service_stopped")
        self.hits = self._hits_since_start()
        told = self._settle() and not self.journal.pending
        self._stack.close()
        return told

    def __enter__(self) -> Self:
        """The service, which is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # ---- counters, for the metrics; any thread ----

    def counters(self) -> Counters:
        """Everything that is counted, as it is now."""
        counted = self.journal.hit_counters()
        replies = self.journal.replies()
        hits = [self._named(counter) for counter in counted]
        seen = {(hit.target, hit.guard_type, hit.flavor, hit.severity) for hit in hits}
        for name in self._targets:
            hits += [
                Hits(name, *expected, 0, 0) for expected in self._expected if (name, *expected) not in seen
            ]
        return Counters(
            hits=hits,
            rejected=self.journal.rejected(),
            replies=Replies(replies.bounds_ns, replies.counts, replies.sum_ns),
            records_lost=self.journal.lost,
            log_suppressed={
                name: self._limiter.suppressed[watched.number] for name, watched in self._targets.items()
            },
            log_write_failures=sum(log.output.failures for log in self._logs),
            targets={name: watched.state for name, watched in self._targets.items()},
        )

    def _hits_since_start(self) -> list[HitCounter]:
        counted = [
            counter._replace(hits=counter.hits - self._before.get(_key(counter), 0))
            for counter in self.journal.hit_counters()
        ]
        return [counter for counter in counted if counter.hits]

    def _named(self, counter: HitCounter) -> Hits:
        violation = decode(counter.guard_type << 61 | counter.flavor << 32, None, self._host.release)
        return Hits(
            target=self._names.name(counter.target_id),
            guard_type=violation.guard_type,
            flavor=(violation.flavor_name or _NO_FLAVOR) if counter.known else None,
            severity=counter.severity,
            hits=counter.hits,
            last_ns=counter.last_ns,
        )

    # ---- the drain ----

    async def _drain(self) -> None:
        """Deal with records whenever the bell says that there are some."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._receiver.bell, self._rung.set)
        try:
            while True:
                self._rung.clear()
                self._receiver.ring()
                while self._drain_batch():  # noqa: ASYNC110 - nothing to wait for: there is work
                    await asyncio.sleep(0)  # a storm must not keep everything else waiting
                await self._rung.wait()
        finally:
            loop.remove_reader(self._receiver.bell)

    def _drain_all(self) -> None:
        while self._drain_batch():
            pass

    def _drain_batch(self) -> bool:
        """Deal with at most `_BATCH` records. True when more can be dealt with at once."""
        if self._stuck and not self._flush():
            return False
        pending = self.journal.pending
        records, there = self.journal.peek(self.journal.capacity)
        if there == self._read:
            # All of this stretch is dealt with. When more waited beyond the ring's end, the stretch has to be
            # given back before they can be seen.
            return pending > there and self._settle()
        until = min(there, self._read + _BATCH)
        for index in range(self._read, until):
            self._deal_with(records[index])
        self._read = until
        if not self._limiter.waiting or self._read * 2 >= self.journal.capacity:
            return self._settle()
        return self._flush()

    def _deal_with(self, record: Any) -> None:  # noqa: ANN401 - a cffi pointer
        """Log one record, or count it."""
        code = record.code
        site = (record.target_id, code >> 32, record.pc)
        seq = record.seq
        recovered = seq < self.journal.recovered_until
        if not recovered:
            tally = self.tally.get(site) or self._new_tally(site, record)
            tally.hits += 1
        if self._limiter.admit(site, record, recovered=recovered):
            hit = self._hit(record, recovered=recovered)
            for log in self._logs:
                log.hit(hit)

    def _new_tally(self, site: tuple[int, int, int], record: Any) -> SiteTally:  # noqa: ANN401 - a cffi pointer
        if len(self.tally) >= _MOST_SITES:
            site = (site[0], site[1], 0)
        return self.tally.setdefault(
            site,
            SiteTally(
                self._names.name(site[0]),
                record.code,
                record.subcode,
                self._shown_release(record.release),
                site[2],
            ),
        )

    def _hit(self, record: Any, *, recovered: bool) -> Hit:  # noqa: ANN401 - a cffi pointer
        name = self._names.name(record.target_id)
        watched = self._targets.get(name)
        inherited = bool(record.flags & lib.EXCGUARD_RECORD_INHERITED)
        if watched is not None and not recovered:
            # A program can break a rule before the receiver has heard which process it is.
            inherited = inherited and record.pid not in watched.pids
        violation = decode(record.code, record.subcode, self._shown_release(record.release))
        registers = bool(record.flags & lib.EXCGUARD_RECORD_REGISTERS)
        return Hit(
            violation=violation,
            target=name,
            pid=record.pid,
            thread_id=record.thread_id,
            time_ns=record.time_ns,
            behavior=_BEHAVIORS.get(record.behavior, str(record.behavior)),
            reply="consume" if record.reply == lib.KERN_SUCCESS else "forward",
            kernel=self._host.kernel,
            release=violation.release or self._release.text,
            seq=record.seq,
            recovered=recovered,
            inherited=inherited,
            pc=record.pc if registers else None,
            lr=record.lr if registers else None,
            sp=record.sp if registers else None,
        )

    def _shown_release(self, release: int) -> str:
        return releases.show(release) if release else self._host.release

    def _settle(self) -> bool:
        """Tell the counts of suppressed hits, and give back what has been dealt with."""
        for group in self._limiter.take():
            violation = decode(group.code, group.subcode, self._shown_release(group.release))
            for log in self._logs:
                log.suppressed(group, self._names.name(group.target_id), violation)
        return self._flush()

    def _flush(self) -> bool:
        """Write the logs; False when some of it has to wait."""
        unwritten = [log for log in self._logs if not log.flush()]
        self._stuck = bool(unwritten)
        if not self._stuck and not self._limiter.waiting:
            self.journal.advance(self._read)
            self._read = 0
        return not self._stuck

    def _recover(self) -> None:
        """Log what an earlier life left behind, before anything new can happen."""
        left = self.journal.pending
        if not left:
            return
        self._event("warning", "journal_recovered", records=left, journal=str(self.journal.path))
        self._drain_all()
        self._settle()

    # ---- everything else ----

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._look_around()
            self._settle()
            self._rung.set()  # the log may have been stuck, and the bell rings only once

    def _look_around(self) -> None:
        """Log what has only been counted since the last time: lost records and refused messages."""
        lost = self.journal.lost
        if lost > self._lost:
            self._event("error", "journal_records_lost", count=lost - self._lost, total=lost)
        self._lost = lost
        rejected = self.journal.rejected()
        for reason, total in rejected.items():
            if total > self._rejected[reason]:
                count = total - self._rejected[reason]
                self._event("warning", "messages_rejected", reason=reason, count=count, total=total)
        self._rejected = rejected

    def _event(self, level: Level, name: str, **fields: Any) -> None:  # noqa: ANN401 - whatever JSON can say
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
                watched.pids.add(pid)
                self._receiver.set_pid(watched.number, pid)
                self._event("info", "target_started", target=name, pid=pid)
            case Exited(pid=pid, status=status, signal=signal, reason=reason, seconds=seconds):
                watched.state.up = False
                watched.state.exits[reason.value] += 1
                self._receiver.set_pid(watched.number, 0)
                good = reason in (ExitReason.EXITED, ExitReason.STOPPED)
                self._event(
                    "info" if good else "warning",
                    "target_exited",
                    target=name,
                    pid=pid,
                    reason=reason.value,
                    status=status,
                    signal=signal,
                    seconds=round(seconds, 3),
                )
            case StartFailed(error=error):
                self._event("error", "target_start_failed", target=name, error=str(error))
            case Restarting(delay=delay):
                self._event("info", "target_restarting", target=name, delay=delay)
        self._flush()
        if self._on_event is not None:
            self._on_event(event)


def _key(counter: HitCounter) -> tuple[int, int, int]:
    return counter.target_id, counter.guard_type, counter.flavor


# The flavor label of guard types whose flavor bits mean nothing.
_NO_FLAVOR = "none"


def _expected_flavors(release: int) -> list[tuple[str, str, str | None]]:
    """Guard type, flavor and severity of every Mach port guard that ``release`` can raise.

    Their series start at 0, so that the first hit of a program already is an increase that an alert can see.
    """
    values = {row.value for row in flavors.table() if row.guard_type == "MACH_PORT" and row.role == "flavor"}
    return [
        ("MACH_PORT", found[0].name, flavors.severity("MACH_PORT", value, release))
        for value in sorted(values)
        if (found := flavors.at("MACH_PORT", value, release))
    ]


def _supervised(config: Config, target: Target, *, foreground: bool) -> Supervised:
    return Supervised(
        name=target.name,
        command=target.command,
        environment=target.environment,
        directory=target.directory,
        restart=Restart(target.restart),
        restart_delay=target.restart_delay,
        restart_delay_max=target.restart_delay_max,
        stop_timeout=target.stop_timeout,
        behavior=Behavior(config.behavior_of(target)),
        foreground=foreground,
    )
