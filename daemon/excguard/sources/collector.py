"""What sources report, on its way into their journals: which of it counts, and for which target.

Each source has a journal of its own beside the receiver's (which has one writer, the receiver), with the same
promises: counted once, logged whatever happens in between.
"""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from excguard.config import Config
from excguard.decoding import code
from excguard.files.off_loop import OffLoop
from excguard.knowledge import guards
from excguard.native import lib
from excguard.pipeline.journal import JournalError
from excguard.pipeline.pipeline import Pipeline
from excguard.pipeline.sink import Level
from excguard.pipeline.source import ExternalHit, Source
from excguard.sources.deduplicator import SAME_START_NS, Deduplicator
from excguard.sources.own_process import OwnProcess
from excguard.sources.tally import Tally

_GRACE: Final = 1.0
"""Seconds that a line of the unified log waits for the live hit that it may describe.

The kernel writes the line before it sends the exception, so either can be here first.
"""
_LINGERS_NS: Final = 5_000_000_000
"""How long a process that has ended can still be reported; after that its pid may be another's."""
_MAX_PROCESSES: Final = 8192
"""Processes that are remembered as a target's: more than a system has at a time."""
_RETRY: Final = 60.0
"""Seconds after which a source that failed is started again."""
_MAX_POLICY: Final = 63
"""Numbers of IPC policies that are counted each by itself; 0 to 21 are known (macOS 26)."""
_MAX_TELEMETRY: Final = 4096
"""Counts of telemetry by target and policy: process names come from the log, and could be endless."""

_MAX_NAMES: Final = 10_000
"""Names that have numbers; hits of further processes count as those of "unknown". Reports make names up."""
_WRITING: Final = 10.0
"""Seconds that the table of names may take to be written."""

_UNKNOWN: Final = "unknown"


@dataclass(slots=True)
class _OwnProcess:
    """A process whose hits are a target's, whichever source reports them."""

    target_id: int
    started_ns: int | None = None
    ended_ns: int | None = None
    killed: bool = False
    explained: bool = False  # a hit that can have killed it was reported
    hit_ns: int = 0  # when it had its last live hit
    fatal: bool = False  # a fatal hit came to an exception port, so the process has ended


class Collector:
    """Follows the sources that a configuration asks for."""

    def __init__(self, config: Config, pipeline: Pipeline, sources: Iterable[Source]) -> None:
        """Prepare to follow; nothing is read before `run`.

        Args:
            config: which sources.
            pipeline: takes their hits; its live hits are observed.
            sources: all that there are. Those without a stream in the pipeline are left out.
        """
        self._failures: Tally[str] = Tally()
        self._telemetry: Tally[ExternalHit] = Tally()
        self._config = config
        self._pipeline = pipeline
        self._sources = {source.name: source for source in sources if source.name in pipeline.external}
        self._deduplicator = Deduplicator()
        self._own: OrderedDict[int, _OwnProcess] = OrderedDict()
        # Hits that can be reported before the live hit that they describe, with the time to judge them at.
        self._early: deque[tuple[float, Source, ExternalHit]] = deque()
        self._lost_matched = pipeline.live.journal.lost  # of the lost live hits, how many were reported
        self._counts_each = any(not source.one_per_process for source in self._sources.values())
        self._last_live = (0, 0)
        # Hits of processes whose names are not on the disk yet.
        self._unnamed: list[tuple[Source, ExternalHit, str]] = []
        self._unnamed_came = asyncio.Event()
        self._off_loop = OffLoop(_WRITING)
        self._changed = asyncio.Event()
        self._report_came = asyncio.Event()
        if self._sources:
            # For crash reports it matters that there was a hit, not how many: storms cost nothing then.
            live = pipeline.live
            (live.observers if self._counts_each else live.kind_observers).append(self._live_hit)

    # ---- what is known of targets ----

    def started(self, pid: int, target_id: int) -> None:
        """A target's program was started."""
        now = time.time_ns()
        self._last_live = (0, 0)
        self._remember(pid, _OwnProcess(target_id, now))
        self._deduplicator.started(pid, now)

    def exited(self, pid: int, *, killed: bool) -> None:
        """A target's program has ended; ``killed`` by SIGKILL."""
        own = self._own.get(pid)
        if own is not None:
            own.ended_ns = time.time_ns()
            own.killed = killed

    def _live_hit(self, record: Any) -> None:  # noqa: ANN401 - a cffi pointer
        """A hit came to an exception port."""
        kind = (record.pid, record.code)
        if kind == self._last_live and not self._counts_each:
            return
        self._last_live = kind
        if record.flags & lib.EXCGUARD_RECORD_PID_UNKNOWN:
            return  # no other report can be matched with it
        own = self._own.get(record.pid) or self._remember(record.pid, _OwnProcess(record.target_id))
        own.explained = own.explained or record.severity != lib.EXCGUARD_SEVERITY_SOFT
        own.fatal = own.fatal or record.severity == lib.EXCGUARD_SEVERITY_FATAL
        own.hit_ns = record.time_ns
        # A crash report is compared by its code; only lines of the log are counted by subcode too.
        subcode = record.subcode if self._counts_each else 0
        self._deduplicator.live(record.pid, record.code, subcode, record.time_ns)

    def processes(self, target_id: int) -> list[OwnProcess]:
        """The processes that were started for a target, and those that had a live hit."""
        return [
            OwnProcess(
                pid, own.started_ns, max(own.started_ns or 0, own.hit_ns, own.ended_ns or 0), own.fatal
            )
            for pid, own in self._own.items()
            if own.target_id == target_id
        ]

    def _remember(self, pid: int, own: _OwnProcess) -> _OwnProcess:
        self._own.pop(pid, None)
        self._own[pid] = own
        if len(self._own) > _MAX_PROCESSES:
            self._own.popitem(last=False)
        return own

    # ---- following ----

    def reload(self, config: Config) -> None:
        """Go over to another configuration, with the sources that are on now."""
        if any(source.revision(config) != source.revision(self._config) for source in self._sources.values()):
            self._changed.set()
        self._config = config

    async def run(self) -> None:
        """Follow the sources until cancelled."""
        while True:
            self._changed.clear()
            changed = asyncio.create_task(self._changed.wait())
            tasks: set[asyncio.Task[Any]] = {changed}
            tasks.add(asyncio.create_task(self._give_numbers()))
            if self._counts_each:
                tasks.add(asyncio.create_task(self._judge_early_hits()))
            for source in self._sources.values():
                if source.enabled(self._config):
                    tasks.add(asyncio.create_task(self._follow(source)))
            try:
                while not changed.done():
                    done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, source: Source) -> None:
        """Follow a source; one that fails must not end the others."""
        while True:
            try:
                await source.follow(self._config, _Reports(self, source))
            # watchfiles' own errors are RuntimeErrors, and those of its thread come in groups.
            except (OSError, RuntimeError, MemoryError, ExceptionGroup) as error:
                self._pipeline.emit(
                    "error", "source_failed", source=source.name, error=_reason(error), delay=_RETRY
                )
                await asyncio.sleep(_RETRY)
            else:
                return

    # ---- what sources report ----

    def take(self, source: Source, hit: ExternalHit) -> None:
        """A source reports a hit."""
        if source.one_per_process:
            self._judge([(source, hit)])
        else:
            self._early.append((asyncio.get_running_loop().time() + _GRACE, source, hit))

    def fail(self, source: Source, kind: str, example: str) -> None:
        """A source reports something that it cannot read."""
        self._failures.add((source.name, kind), example)

    @property
    def failures(self) -> Counter[tuple[str, str]]:
        """What could not be read, by source and kind."""
        return self._failures.totals

    @property
    def telemetry(self) -> Counter[tuple[str, str]]:
        """Lines of policy telemetry, by target and policy number."""
        return self._telemetry.totals

    def report(self) -> None:
        """Log what has only been counted since the last time."""
        for (source, kind), count, total, example in self._failures.news():
            self._pipeline.emit(
                "warning",
                "source_unreadable",
                source=source,
                kind=kind,
                count=count,
                total=total,
                example=example[:300],
            )
        for (target, policy), count, total, hit in self._telemetry.news():
            self._pipeline.emit(
                "info",
                "policy_telemetry",
                target=target,
                policy=policy,
                count=count,
                total=total,
                pid=hit.pid,
                detail=None if hit.subcode is None else f"{hit.subcode:#x}",
            )

    def finish(self) -> None:
        """Judge what still waits: nothing more will come."""
        self._judge([(source, hit) for _, source, hit in self._early])
        self._early.clear()
        if self._unnamed:
            waiting, self._unnamed = self._unnamed, []
            error = ""
            try:
                self._pipeline.names.number(name for _, _, name in waiting)
            except JournalError as failure:
                error = str(failure)
            self._record_named(waiting, error)
        self.report()

    async def wait_for_reports(self, seconds: float) -> None:
        """If programs were killed and no hit explains it, wait that long for their crash reports."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while unexplained := [pid for pid, own in self._own.items() if own.killed and not own.explained]:
            self._report_came.clear()
            try:
                await asyncio.wait_for(self._report_came.wait(), end - loop.time())
            except TimeoutError:
                self._pipeline.emit("warning", "crash_reports_missing", pids=unexplained, waited=seconds)
                return

    async def _judge_early_hits(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(self._early[0][0] - loop.time(), 0.01) if self._early else _GRACE)
            due = []
            while self._early and self._early[0][0] <= loop.time():
                due.append(self._early.popleft()[1:])
            self._judge(due)

    def _judge(self, reported: list[tuple[Source, ExternalHit]]) -> None:
        """Record those that are new."""
        if not reported:
            return
        self._pipeline.live.observe()  # what came to an exception port before
        for source, hit in reported:
            own = self._own_process(source, hit)
            name = hit.process or _UNKNOWN
            if own is None and not any(
                fnmatchcase(name, pattern) for pattern in source.processes(self._config)
            ):
                continue
            number, flavor, policy = code.split(hit.code)
            if guards.is_policy_telemetry(guards.NAMES.get(number), flavor):
                self._count_telemetry(hit, policy, own.target_id if own else None, name)
                continue
            if self._is_new(source, hit, own):
                self._record(source, hit, own.target_id if own else None, name)
            if own is not None and source.one_per_process:
                own.explained = True
                self._report_came.set()
        self._pipeline.drain()

    def _own_process(self, source: Source, hit: ExternalHit) -> _OwnProcess | None:
        """The target's process that committed a hit, if it is a target's."""
        own = self._own.get(hit.pid)
        if own is None:
            return None
        if hit.started_ns is not None and own.started_ns is not None:
            return own if abs(own.started_ns - hit.started_ns) <= SAME_START_NS else None
        if own.ended_ns is not None and hit.time_ns > own.ended_ns + _LINGERS_NS:
            return None
        if source.one_per_process and hit.started_ns is None and not own.killed:
            return None
        return own

    def _is_new(self, source: Source, hit: ExternalHit, own: _OwnProcess | None) -> bool:
        if source.one_per_process:
            return self._deduplicator.report(hit.pid, hit.code, hit.subcode, hit.time_ns, hit.started_ns)
        if not self._deduplicator.line(hit.pid, hit.code, hit.subcode, hit.time_ns):
            return False
        if own is not None and self._lost_matched < self._pipeline.live.journal.lost:
            # A live hit that had no room in the full journal is counted already; this may be its line.
            self._lost_matched += 1
            return False
        return True

    def _count_telemetry(self, hit: ExternalHit, policy: int, target_id: int | None, name: str) -> None:
        key = (
            name if target_id is None else self._pipeline.names.name(target_id),
            str(policy) if policy <= _MAX_POLICY else _UNKNOWN,
        )
        if key not in self.telemetry and len(self.telemetry) >= _MAX_TELEMETRY:
            key = (_UNKNOWN, key[1])
        self._telemetry.add(key, hit)

    def _record(self, source: Source, hit: ExternalHit, target_id: int | None, name: str) -> None:
        """Record a hit; one of a process that has no number on the disk yet waits for that."""
        names = self._pipeline.names
        number = target_id or names.saved(name)
        if number is None and len(names) >= _MAX_NAMES:
            name = _UNKNOWN
            number = names.saved(name)
        if number is None:
            self._unnamed.append((source, hit, name))
            self._unnamed_came.set()
        else:
            self._pipeline.external[source.name].append(hit, number)

    async def _give_numbers(self) -> None:
        """Write new names to the disk, all that have come together; the loop must not wait for that."""
        while True:
            self._unnamed_came.clear()
            if not self._unnamed:
                await self._unnamed_came.wait()
            waiting = self._unnamed.copy()
            self._pipeline.names.add(name for _, _, name in waiting)
            error = ""
            try:
                await self._off_loop.call(self._pipeline.names.save)
            except (JournalError, TimeoutError) as failure:
                error = str(failure)
            del self._unnamed[: len(waiting)]
            self._record_named(waiting, error)

    def _record_named(self, waiting: list[tuple[Source, ExternalHit, str]], error: str) -> None:
        for source, hit, name in waiting:
            number = self._pipeline.names.saved(name)
            if number is None:
                self.fail(source, "uncounted", error)
            else:
                self._pipeline.external[source.name].append(hit, number)
        self._pipeline.drain()


def _reason(error: BaseException) -> str:
    """The text of an error; that of the first one in a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__


class _Reports:
    """What one source reports to."""

    def __init__(self, collector: Collector, source: Source) -> None:
        self._collector = collector
        self._source = source

    def hit(self, hit: ExternalHit) -> None:
        self._collector.take(self._source, hit)

    def failure(self, kind: str, example: str) -> None:
        self._collector.fail(self._source, kind, example)

    def event(self, level: Level, name: str, **fields: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        self._collector._pipeline.emit(level, name, **fields)  # noqa: SLF001 - a part of it
