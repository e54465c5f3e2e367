"""From the journals to the sinks: the streams of all sources, and the sinks that they end in."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from excguard.config import Config, Log
from excguard.files.set_aside import set_aside
from excguard.knowledge import releases
from excguard.mach.host import Host
from excguard.native.closeable import Closeable
from excguard.pipeline.exemplars import Exemplars
from excguard.pipeline.hit import LIVE, rfc3339
from excguard.pipeline.journal import HitCounter, Journal, JournalDamagedError
from excguard.pipeline.sink import Level, Sink
from excguard.pipeline.sink_worker import SinkWorker
from excguard.pipeline.source import Source
from excguard.pipeline.stream import Stream
from excguard.pipeline.tally import SiteTally
from excguard.pipeline.target_names import TargetNames

_EXTERNAL_CAPACITY: Final = 8192  # records of an external source that can wait
_LOOK: Final = 0.25  # seconds between two looks at sinks that are waited for
_SLOW: Final = 3  # times the usual timeout for sinks that are slow, and not stuck
_BEST_EFFORT: Final = 1.0  # seconds that best-effort sinks are waited for
_CLOSING: Final = 1.0  # seconds that sinks have to close what they hold


class Pipeline(Closeable):
    """All streams, and the sinks at their ends.

    Attributes:
        live: the stream of what the receiver records.
        external: the streams of other sources, by their names.
        names: the numbers and names of targets.
        exemplars: of each hit series a hit that the log has in full.
    """

    def __init__(
        self, config: Config, host: Host, journal: Path, sinks: Sequence[Sink], sources: Iterable[Source]
    ) -> None:
        """Open the journals, and queue what an earlier process has left in them.

        Args:
            config: sizes, limits, and which sources are on.
            host: the running system.
            journal: the path of the receiver's journal; those of other sources lie beside it.
            sinks: belong to the pipeline from now on, also when this raises.
            sources: all that there are. The journal of one that is off is opened as well when it exists: its
                counts must not go back.

        Raises:
            JournalError: a journal or the table of targets beside it cannot be used.
        """
        self.exemplars = Exemplars()
        self.on_progress: Callable[[], None] = lambda: None
        """Called on sinks' threads when one has written what it had, and so more may be read."""
        self._best_effort_end: float | None = None
        self._progressed = threading.Event()
        self._closed_cleanly = True
        self.damaged = 0
        """Files that were set aside because they are damaged."""
        self._workers = [SinkWorker(sink, self._sink_progressed) for sink in sinks]
        with ExitStack() as stack:
            stack.callback(self._close_sinks)
            release = releases.parse(host.release).version
            paths = {LIVE: journal} | {
                source.name: path
                for source in sources
                if (path := journal.with_name(f"{journal.name}.{source.name}")).exists()
                or source.enabled(config)
            }
            journals = {
                name: stack.enter_context(
                    self._open(path, config.journal.capacity if name == LIVE else _EXTERNAL_CAPACITY, release)
                )
                for name, path in paths.items()
            }
            self.names = TargetNames(
                journal, {counter.target_id for one in journals.values() for counter in one.hit_counters()}
            )
            if self.names.set_aside is not None:
                self._report_damage(self.names.path, *self.names.set_aside)
            self.names.number(target.name for target in config.target)
            self.external = {
                name: Stream(name, one, config.log, names=self.names, host=host, exemplars=self.exemplars)
                for name, one in journals.items()
            }
            self.live = self.external.pop(LIVE)
            for stream in self.streams:
                for worker in self._workers:
                    stream.add(worker)
                if pending := stream.journal.pending:
                    self.emit(
                        "warning", "journal_recovered", records=pending, journal=str(stream.journal.path)
                    )
            self._lost = self.live.journal.lost
            self._rejected = self.live.journal.rejected()
            self._stack = stack.pop_all()

    def _open(self, path: Path, capacity: int, release: int) -> Journal:
        """A journal; a damaged one is set aside, for it must not keep excguard from starting."""
        try:
            return Journal(path, capacity=capacity, release=release)
        except JournalDamagedError as error:
            try:
                kept = set_aside(path)
            except OSError:
                raise error from None
            self._report_damage(path, kept, str(error))
        return Journal(path, capacity=capacity, release=release)

    def _report_damage(self, path: Path, kept: Path, error: str) -> None:
        self.damaged += 1
        self.emit("error", "file_set_aside", file=str(path), kept=str(kept), error=error)

    def count_ports(self) -> None:
        """From now on count the different ports of each site, too: for a summary that shows them."""
        for stream in self.streams:
            stream.tally.counts_ports = True

    @property
    def streams(self) -> list[Stream]:
        """All streams, the live one first."""
        return [self.live, *self.external.values()]

    # ---- events ----

    def emit(self, level: Level, name: str, **fields: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Give an event to all sinks, with the time; from any thread."""
        fields = {"timestamp": rfc3339(time.time_ns()), **fields}
        for worker in self._workers:
            worker.event(level, name, fields)

    def call(self, sink: Sink, function: Callable[[], object]) -> None:
        """Have ``function`` called on the thread of ``sink``, after everything it was given before."""
        for worker in self._workers:
            if worker.sink is sink:
                worker.call(function)

    def report(self) -> None:
        """Log what was counted since the last time: lost records and refused messages."""
        lost = self.live.journal.lost
        if lost > self._lost:
            self.emit("error", "journal_records_lost", count=lost - self._lost, total=lost)
        self._lost = lost
        rejected = self.live.journal.rejected()
        for reason, total in rejected.items():
            if total > self._rejected[reason]:
                count = total - self._rejected[reason]
                self.emit("warning", "messages_rejected", reason=reason, count=count, total=total)
        self._rejected = rejected

    @property
    def damage(self) -> str:
        """What another program has done to a journal while it was in use; empty: nothing."""
        return next((stream.damage for stream in self.streams if stream.damage), "")

    # ---- hits ----

    def read(self) -> bool:
        """Read some records of each stream. True when more can be read at once."""
        return any([stream.read() for stream in self.streams])  # noqa: C419 - each of them has its turn

    def drain(self) -> None:
        """Read all that the sinks have room for."""
        while self.read():
            pass

    def settle(self) -> None:
        """Hand over the counts of hits that do not come in full."""
        for stream in self.streams:
            stream.settle()

    def limit(self, log: Log) -> None:
        """Go over to other limits for what comes in full."""
        for stream in self.streams:
            stream.limit(log)

    def finish(self, timeout: float, *, from_progress: bool) -> bool:
        """Read everything, and wait until the sinks have written it; for best-effort ones a second only.

        Args:
            timeout: seconds without progress of any sink after which it returns.
            from_progress: for as long as there is progress; otherwise no longer than some times ``timeout``.

        Returns:
            Whether the durable sinks have written everything.
        """
        end, seen = time.monotonic() + timeout, sum(worker.sink.progress for worker in self._workers)
        if self._best_effort_end is None:  # one second for all calls together
            self._best_effort_end = time.monotonic() + _BEST_EFFORT
        last = math.inf if from_progress else time.monotonic() + _SLOW * timeout
        while True:
            self._progressed.clear()
            self.drain()
            self.settle()
            busy = [worker for worker in self._workers if not worker.idle]
            now = time.monotonic()
            durable = any(worker.sink.durable for worker in busy)
            if self._written() and not durable and (not busy or now >= self._best_effort_end):
                return True
            progress = sum(worker.sink.progress for worker in self._workers)
            if progress != seen:
                end, seen = min(now + timeout, last), progress
            if now >= end:
                return self._written() and not durable
            self._progressed.wait(min(end - now, _LOOK))

    def close(self) -> bool:
        """Close the sinks and the journals; False when a durable sink was left with something unwritten.

        That stays in the journals for the next start.
        """
        self._stack.close()
        return self._closed_cleanly

    def _written(self) -> bool:
        return all(stream.written() for stream in self.streams)

    def _sink_progressed(self) -> None:
        self._progressed.set()
        self.on_progress()

    def _close_sinks(self) -> None:
        for worker in self._workers:
            worker.stop()
        end = time.monotonic() + _CLOSING
        for worker in self._workers:
            closed = worker.join(max(end - time.monotonic(), 0))
            self._closed_cleanly = self._closed_cleanly and (closed or not worker.sink.durable)

    # ---- counts ----

    @property
    def tally(self) -> list[SiteTally]:
        """The hits since the start by site, without those that had no room in the journal."""
        return [site for stream in self.streams for site in stream.tally.sites]

    def hits_since_start(self) -> list[HitCounter]:
        """The hits since the start by flavor, also those that had no room in the journal."""
        return [counter for stream in self.streams for counter in stream.hits_since_start()]

    def suppressed(self, targets: Iterable[str]) -> dict[str, int]:
        """How many hits of each target came as a count."""
        found = dict.fromkeys(targets, 0)
        for stream in self.streams:
            for number, hits in stream.limiter.suppressed.copy().items():  # a copy: the main loop adds some
                name = self.names.name(number)
                if name in found:
                    found[name] += hits
        return found

    @property
    def write_failures(self) -> int:
        """Writes of durable sinks that failed."""
        return sum(worker.failures for worker in self._workers if worker.sink.durable)

    @property
    def dropped(self) -> dict[str, int]:
        """What each sink was not given, by name."""
        return {worker.sink.name: worker.dropped + worker.sink.dropped for worker in self._workers}
