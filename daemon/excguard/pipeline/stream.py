"""The hits that one source reports: their journal, and everything that reads it.

Each durable sink has a `Reader`, a place of its own in the journal. What holds no place (the tally of the
run, exemplars, best-effort sinks, whoever observes records) is served here, for each record as soon as it is
there. The journal's room is released up to the least of all places.
"""

from collections.abc import Callable

from excguard.config import Log
from excguard.mach.host import Host
from excguard.native import lib
from excguard.native.closeable import Closeable
from excguard.pipeline.batch import MIN_SIZE, Batch, Batches
from excguard.pipeline.exemplars import Exemplars
from excguard.pipeline.journal import HitCounter, Journal, JournalDamagedError, Record
from excguard.pipeline.own_processes import OwnProcesses
from excguard.pipeline.rate_limit import SiteLimiter
from excguard.pipeline.reader import BATCH, Reader
from excguard.pipeline.record import RecordDecoder, site_of
from excguard.pipeline.sink_worker import SinkWorker
from excguard.pipeline.source import ExternalHit
from excguard.pipeline.tally import Tally
from excguard.pipeline.target_names import TargetNames


class Stream(Closeable):
    """One source's hits, from its journal to the sinks.

    Attributes:
        source: its name.
        journal: belongs to the stream.
        limiter: decides what comes in full, for what holds no place; its counts are those of the metrics.
        tally: the hits since the start. Recovered ones belong to an earlier start and are not in it.
        processes: the targets' own processes.
        damage: what is wrong with the journal, of which nothing is read any more; empty: nothing.
    """

    observers: list[Callable[[Record], None]]
    """Called with each record as soon as it is read."""

    kind_observers: list[Callable[[Record], None]]
    """Called likewise; of records of one process and code read together, maybe with the last alone."""

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        source: str,
        journal: Journal,
        log: Log,
        *,
        names: TargetNames,
        host: Host,
        exemplars: Exemplars,
    ) -> None:
        """Read ``journal``; ``log`` says how many hits of a site come in full."""
        self.source = source
        self.journal = journal
        self.limiter = SiteLimiter(log.first, log.window)
        self.processes = OwnProcesses()
        self.damage = ""
        self.observers = []
        self.kind_observers = []
        self._names = names
        self._decoder = RecordDecoder(source, names, host, self.processes)
        self.tally = Tally(self._decoder, names)
        self._exemplars = exemplars
        self._batches = Batches()
        self._readers: list[Reader] = []
        self._best_effort: list[SinkWorker] = []
        self._position = journal.tail
        self._log = log
        self._counted_before = {_key(counter): counter.hits for counter in journal.hit_counters()}

    def add(self, worker: SinkWorker) -> None:
        """Have a sink receive the hits from the oldest on that the journal has."""
        if worker.sink.durable:
            limits = worker.sink.limits(self._log)
            limiter = SiteLimiter(limits.first, limits.window)
            self._readers.append(Reader(self.journal, worker, limiter, self._decoder, self._batches))
        else:
            self._best_effort.append(worker)

    def limit(self, log: Log) -> None:
        """Go over to other limits."""
        self._log = log
        self.limiter.change(log.first, log.window)
        for reader in self._readers:
            reader.limit(log)

    def append(self, hit: ExternalHit, target_id: int) -> None:
        """Record a hit that came to no exception port."""
        flags = (lib.EXCGUARD_RECORD_NO_SUBCODE if hit.subcode is None else 0) | (
            0 if hit.pid else lib.EXCGUARD_RECORD_PID_UNKNOWN
        )
        self._decoder.remember(self.journal.head, hit)
        self.journal.append(
            target_id=target_id,
            pid=hit.pid,
            time_ns=hit.time_ns,
            code=hit.code,
            subcode=hit.subcode or 0,
            flags=flags,
        )

    # ---- reading ----

    def read(self) -> bool:
        """Read some records for everything that can take some. True when more can be read at once."""
        if self.damage:
            return False
        more = self._observe()
        if self.damage:
            return False
        for reader in self._readers:
            more = reader.read(self._position) or more
        self._release()
        return more

    def observe(self) -> None:
        """Read all records for the observers, however far the sinks are."""
        while not self.damage and self._observe():
            pass

    def settle(self) -> None:
        """Hand over the counts of hits that do not come in full."""
        for reader in self._readers:
            reader.settle()
        for group in self.limiter.take():
            violation = self._decoder.violation(group.code, group.subcode, group.release)
            for worker in self._best_effort:
                worker.suppressed(
                    group._replace(source=self.source), self._names.name(group.target_id), violation
                )
        self._release()

    def written(self) -> bool:
        """Whether every durable sink has written every record that can be read."""
        if self.damage:
            return True
        self._release()
        return not self.journal.pending

    def _observe(self) -> bool:
        records, count = self.journal.read(self._position, BATCH)
        try:
            self.journal.verify(self._position, count)
        except JournalDamagedError as error:
            self.damage = str(error)
            return False
        if count >= MIN_SIZE and self._position >= self.journal.recovered_until:
            batch = self._batches.get(self._position, records, count)
            if self.limiter.count(batch):
                self._observe_batch(batch)
                self._position += count
                return True
        recovered_until = self.journal.recovered_until
        observers = (*self.observers, *self.kind_observers)
        hits = []
        self._decoder.forget()
        for index in range(count):
            record = records[index]
            recovered = record.seq < recovered_until
            for observer in observers:
                observer(record)
            if not recovered:
                self.tally.add(record)
            if self.limiter.admit(site_of(record), record, recovered=recovered):
                hits.append(self._decoder.hit(record, recovered=recovered))
        self._exemplars.hits(hits)
        for worker in self._best_effort:
            worker.hits(hits)
        self._position += count
        return count > 0

    def _observe_batch(self, batch: Batch) -> None:
        """Observe hits none of which comes in full."""
        if self.observers:
            for index in range(batch.count):
                for observer in self.observers:
                    observer(batch.record(index))
        if self.kind_observers:
            for record in batch.kinds():
                for observer in self.kind_observers:
                    observer(record)
        for index, hits in batch.by_process():
            self.tally.add(batch.record(index), hits)
        if self.tally.counts_ports:
            for record in batch.ports():
                self.tally.add_port(record)

    def _release(self) -> None:
        """Release what every place has passed; move on those that keep others from reading."""
        if self.damage:  # the file stays as it is, for whoever looks into it
            return
        if len(self._readers) > 1:
            self._relieve()
        seq = min([self._position, *(reader.written for reader in self._readers)])
        self.journal.release(seq)
        self.processes.forget(min([self._position, *(reader.position for reader in self._readers)]))

    def _relieve(self) -> None:
        """Give up the places of stuck sinks before the full journal stops the others.

        A sink that is alone keeps its place: then the newest hits are lost, and counted, as in the metrics.
        """
        quarter = self.journal.capacity // 4
        if self.journal.pending > 3 * quarter:
            first = max(reader.written for reader in self._readers)
            for reader in self._readers:
                if first - reader.written > 2 * quarter:
                    reader.skip(first)

    # ---- counts ----

    def hits_since_start(self) -> list[HitCounter]:
        """The hits since the start by flavor, also those that had no room in the journal."""
        counted = [
            counter._replace(hits=counter.hits - self._counted_before.get(_key(counter), 0))
            for counter in self.journal.hit_counters()
        ]
        return [counter for counter in counted if counter.hits]

    def close(self) -> None:
        """Close the journal; nothing may write to it any more."""
        self.journal.close()


def _key(counter: HitCounter) -> tuple[int, int, int]:
    return counter.target_id, counter.guard_type, counter.flavor
