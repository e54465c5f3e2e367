"""What other sources tell, on its way into the log and the metrics: which of it counts, and for whom.

Each other source has a journal of its own beside the receiver's (which has one writer, the receiver), with
the same promises: counted once, logged whatever happens in between.
"""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from excguard.config import Config
from excguard.native import lib
from excguard.pipeline.hit import Source
from excguard.pipeline.journal import Journal, JournalError
from excguard.sources import crash_reports, report_file, unified_log
from excguard.sources.deduplicator import SAME_START_NS, Once
from excguard.sources.external_hit import Sighting

# How long a line of the unified log waits for the live hit that it may be another word for: the kernel writes
# the line before it sends the exception, so either can be here first.
_GRACE: Final = 1.0
# A process that has ended can still be told of for so long; then its pid may be another's.
_LINGERS_NS: Final = 5_000_000_000
# Processes that are remembered as a target's: more than a system has at a time.
_OWN: Final = 8192
# A source that broke down is tried again after so many seconds.
_RETRY: Final = 60.0

_UNKNOWN: Final = "unknown"


def journals_of(config: Config, live: Path) -> Iterator[tuple[Source, Path]]:
    """The journals that other sources need beside ``live``, the receiver's.

    Those of a source that is off now are opened as well when they are there: its counts must not go back.
    """
    wanted = {
        Source.CRASH_REPORT: config.crash_reports.enabled,
        Source.UNIFIED_LOG: config.unified_log.enabled,
    }
    for source, enabled in wanted.items():
        path = live.with_name(f"{live.name}.{source.value}")
        if enabled or path.exists():
            yield source, path


@dataclass(slots=True)
class _Own:
    """A process whose hits are a target's, whoever tells of them."""

    target_id: int
    started_ns: int | None = None
    ended_ns: int | None = None
    killed: bool = False
    explained: bool = False  # a hit that can have killed it was seen


class Intake:
    """Follows the sources that a configuration asks for.

    Attributes:
        failures: what could not be read, by source and kind.
    """

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        config: Config,
        journals: Mapping[Source, Journal],
        live: Journal,
        *,
        number_of: Callable[[str], int],
        drain: Callable[[], object],
        drain_live: Callable[[], bool],
        tell: Callable[..., None],
    ) -> None:
        """Prepare to follow; nothing is read before `run`.

        Args:
            config: which sources.
            journals: those that take the hits of other sources, see `journals_of`.
            live: the receiver's journal.
            number_of: the number of a target by its name.
            drain: logs what is in ``journals``.
            drain_live: logs what is in ``live``, which calls `live_hit` for each record; False when the log
                is stuck.
            tell: logs an event.
        """
        self.failures: Counter[tuple[str, str]] = Counter()
        self._config = config
        self._journals = journals
        self._live = live
        self._number_of = number_of
        self._drain = drain
        self._drain_live = drain_live
        self._tell = tell
        self._once = Once()
        self._own: OrderedDict[int, _Own] = OrderedDict()
        self._lines: deque[tuple[float, Sighting]] = deque()  # with the time at which they are judged
        self._lost_matched = live.lost  # of the live hits that have no record, how many had their line
        self._told: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], str] = {}
        self._has_lines = Source.UNIFIED_LOG in journals
        self._last_live = (0, 0)
        self._changed = asyncio.Event()
        self._reported = asyncio.Event()

    # ---- what is known of targets ----

    def started(self, pid: int, target_id: int) -> None:
        """A target's program was started."""
        now = time.time_ns()
        self._last_live = (0, 0)
        self._remember(pid, _Own(target_id, now))
        self._once.started(pid, now)

    def exited(self, pid: int, *, killed: bool) -> None:
        """A target's program has ended; ``killed`` by SIGKILL."""
        own = self._own.get(pid)
        if own is not None:
            own.ended_ns = time.time_ns()
            own.killed = killed

    def live_hit(self, record: Any) -> None:  # noqa: ANN401 - a cffi pointer
        """A hit came to an exception port."""
        kind = (record.pid, record.code)
        if kind == self._last_live and not self._has_lines:
            return  # to crash reports it matters that there was one, not how many: storms cost nothing here
        self._last_live = kind
        if record.flags & lib.EXCGUARD_RECORD_PID_UNKNOWN:
            return  # whose it was cannot be told: nothing else will be known to be the same
        own = self._own.get(record.pid) or self._remember(record.pid, _Own(record.target_id))
        own.explained = own.explained or record.severity != lib.EXCGUARD_SEVERITY_SOFT
        self._once.live(record.pid, record.code, record.subcode, record.time_ns)

    def _remember(self, pid: int, own: _Own) -> _Own:
        self._own.pop(pid, None)
        self._own[pid] = own
        if len(self._own) > _OWN:
            self._own.popitem(last=False)
        return own

    # ---- what sources tell ----

    def reload(self, config: Config) -> None:
        """Go over to another configuration, with the sources that are on now."""
        if self._followed(config) != self._followed(self._config):
            self._changed.set()
        self._config = config

    @staticmethod
    def _followed(config: Config) -> tuple[object, ...]:
        """What the sources themselves are told; the rest is looked up as it is needed."""
        return config.crash_reports.directories, config.unified_log.command

    async def run(self) -> None:
        """Follow the sources until cancelled."""
        while True:
            self._changed.clear()
            changed = asyncio.create_task(self._changed.wait())
            tasks: set[asyncio.Task[Any]] = {changed}
            if self._has_lines:
                tasks.add(asyncio.create_task(self._judge_lines()))
            for source, follow in self._sources():
                tasks.add(asyncio.create_task(self._keep_going(source, follow)))
            try:
                while not changed.done():
                    done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _sources(self) -> Iterator[tuple[Source, Callable[[], Awaitable[None]]]]:
        reports, log = self._config.crash_reports, self._config.unified_log
        if Source.CRASH_REPORT in self._journals and reports.enabled:
            folders = [
                Path(folder).expanduser() for folder in reports.directories or crash_reports.DEFAULT_FOLDERS
            ]
            watcher = crash_reports.CrashReports(folders, report_file.read, self.take, self.fail)
            yield Source.CRASH_REPORT, watcher.run
        if Source.UNIFIED_LOG in self._journals and log.enabled:
            command = log.command or unified_log.DEFAULT_COMMAND
            yield Source.UNIFIED_LOG, unified_log.UnifiedLog(command, self.take, self.fail, self._tell).run

    async def _keep_going(self, source: Source, follow: Callable[[], Awaitable[None]]) -> None:
        """A source that breaks down must not take the rest with it."""
        while True:
            try:
                await follow()
            except (OSError, RuntimeError) as error:  # watchfiles' own errors are RuntimeErrors
                self._tell("error", "source_failed", source=source.value, error=str(error), delay=_RETRY)
                await asyncio.sleep(_RETRY)
            else:
                return

    def take(self, sighting: Sighting) -> None:
        """A source tells of a hit."""
        if sighting.source is Source.UNIFIED_LOG:
            self._lines.append((asyncio.get_running_loop().time() + _GRACE, sighting))
        else:
            self._judge([sighting])

    def fail(self, source: Source, kind: str, what: str) -> None:
        """A source tells of something that it cannot read."""
        key = (source.value, kind)
        self.failures[key] += 1
        self._examples[key] = what

    def look_around(self) -> None:
        """Log what has only been counted since the last time."""
        for key, total in self.failures.items():
            count = total - self._told[key]
            if count:
                source, kind = key
                self._tell(
                    "warning",
                    "source_unreadable",
                    source=source,
                    kind=kind,
                    count=count,
                    total=total,
                    example=self._examples[key][:300],
                )
        self._told = self.failures.copy()

    def finish(self) -> None:
        """Judge what still waits: nothing more will come."""
        self._judge([line for _, line in self._lines])
        self._lines.clear()
        self.look_around()

    async def wait_for_reports(self, seconds: float) -> None:
        """If programs were killed and nobody knows why, give their crash reports that long to come."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while unexplained := [pid for pid, own in self._own.items() if own.killed and not own.explained]:
            self._reported.clear()
            try:
                await asyncio.wait_for(self._reported.wait(), end - loop.time())
            except TimeoutError:
                self._tell("warning", "crash_reports_missing", pids=unexplained, waited=seconds)
                return

    async def _judge_lines(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(self._lines[0][0] - loop.time(), 0.01) if self._lines else _GRACE)
            if self._lines and self._lines[0][0] <= loop.time() and self._drain_live():
                due = []
                while self._lines and self._lines[0][0] <= loop.time():
                    due.append(self._lines.popleft()[1])
                self._judge(due)

    def _judge(self, sightings: list[Sighting]) -> None:
        """Count those that are new, and log them."""
        if not sightings:
            return
        self._drain_live()
        for sighting in sightings:
            own = self._own_process(sighting)
            name = sighting.process or _UNKNOWN
            if own is None and not any(
                fnmatchcase(name, pattern) for pattern in self._patterns(sighting.source)
            ):
                continue
            if self._is_new(sighting, own):
                self._record(sighting, own.target_id if own else None, name)
            if own is not None and sighting.source is Source.CRASH_REPORT:
                own.explained = True
                self._reported.set()
        self._drain()

    def _patterns(self, source: Source) -> tuple[str, ...]:
        if source is Source.CRASH_REPORT:
            return self._config.crash_reports.processes
        return self._config.unified_log.processes

    def _own_process(self, sighting: Sighting) -> _Own | None:
        """The target's process that a sighting is of, if it is of one."""
        own = self._own.get(sighting.pid)
        if own is None:
            return None
        if sighting.started_ns is not None and own.started_ns is not None:
            return own if abs(own.started_ns - sighting.started_ns) <= SAME_START_NS else None
        if own.ended_ns is not None and sighting.time_ns > own.ended_ns + _LINGERS_NS:
            return None
        if sighting.source is Source.CRASH_REPORT and sighting.started_ns is None and not own.killed:
            return None
        return own

    def _is_new(self, sighting: Sighting, own: _Own | None) -> bool:
        if sighting.source is Source.CRASH_REPORT:
            return self._once.report(
                sighting.pid, sighting.code, sighting.subcode, sighting.time_ns, sighting.started_ns
            )
        if not self._once.line(sighting.pid, sighting.code, sighting.subcode, sighting.time_ns):
            return False
        if own is not None and self._lost_matched < self._live.lost:
            # A live hit that the full journal had no record for is counted already; this may be its line.
            self._lost_matched += 1
            return False
        return True

    def _record(self, sighting: Sighting, target_id: int | None, name: str) -> None:
        try:
            number = target_id or self._number_of(name)
        except JournalError as error:
            self.fail(sighting.source, "uncounted", str(error))
            return
        self._journals[sighting.source].append(
            target_id=number,
            pid=sighting.pid,
            time_ns=sighting.time_ns,
            code=sighting.code,
            subcode=sighting.subcode or 0,
            flags=(lib.EXCGUARD_RECORD_NO_SUBCODE if sighting.subcode is None else 0)
            | (0 if sighting.pid else lib.EXCGUARD_RECORD_PID_UNKNOWN),
        )
