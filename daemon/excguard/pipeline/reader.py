"""A durable sink's place in a journal.

The reader hands records to its sink in order: the first hits of each site in full, the rest as counts
(`rate_limit.py`). A record is *written* once the line that shows or counts it has been written; only then
may the journal reuse its room. So a kill at any moment means that the next start reads those records again,
with the same ``seq`` and marked as recovered, and never that they are missing.

Hits that are counted are written with their summary. So their records stay in the journal until then: for a
second at most, and less when they fill half the ring.
"""

from functools import partial
from typing import Any

from excguard.config import Log
from excguard.pipeline.batch import MIN_SIZE, Batches
from excguard.pipeline.journal import Journal
from excguard.pipeline.rate_limit import SiteLimiter
from excguard.pipeline.record import RecordDecoder, site_of
from excguard.pipeline.sink_worker import SinkWorker

BATCH = 2048
"""Records that are read at a time, between two looks at everything else that waits."""


class Reader:
    """Reads one journal for one sink.

    Attributes:
        position: the seq of the next record to read.
        written: every record with a lower seq has been written; set by the sink's thread.
        skipped: records that were never read, because the journal needed their room.
    """

    def __init__(
        self,
        journal: Journal,
        worker: SinkWorker,
        limiter: SiteLimiter,
        decoder: RecordDecoder,
        batches: Batches,
    ) -> None:
        """Begin at the oldest record of ``journal``."""
        self._batches = batches
        self.position = self.written = journal.tail
        self.skipped = 0
        self.limiter = limiter
        self._journal = journal
        self._worker = worker
        self._decoder = decoder
        self._marked = self.position
        self._unreported = 0

    def limit(self, log: Log) -> None:
        """Go over to other limits."""
        limits = self._worker.sink.limits(log)
        self.limiter.change(limits.first, limits.window)

    def read(self, until: int) -> bool:
        """Read some records before ``until``, as many as the sink has room for. True when there were some."""
        room = min(self._worker.room, BATCH, until - self.position)
        records, count = self._journal.read(self.position, room)
        if not count:
            return False
        if self._unreported:
            self._report_skipped()
        until_new = self._journal.recovered_until - self.position
        recovered = until_new > 0
        if recovered:
            count = min(count, until_new)
        elif until_new == 0:  # no summary is of recovered and new hits at once
            self.settle()
        if (
            recovered
            or count < MIN_SIZE
            or not self.limiter.count(self._batches.get(self.position, records, count))
        ):
            self._read_each(records, count, recovered=recovered)
        self.position += count
        if not self.limiter.waiting:
            self._mark()
        elif (self.position - self._marked) * 2 >= self._journal.capacity:
            self.settle()
        return True

    def _read_each(self, records: Any, count: int, *, recovered: bool) -> None:  # noqa: ANN401 - a cffi pointer
        hits = []
        for index in range(count):
            record = records[index]
            if self.limiter.admit(site_of(record), record, recovered=recovered):
                hits.append(self._decoder.hit(record, recovered=recovered))
        self._worker.hits(hits)

    def settle(self) -> None:
        """Hand over the counts that have gathered."""
        for group in self.limiter.take():
            self._worker.suppressed(
                group._replace(source=self._decoder.source),
                self._decoder.names.name(group.target_id),
                self._decoder.violation(group.code, group.subcode, group.release),
            )
        self._mark()

    def skip(self, seq: int) -> None:
        """Give up the place: go on at ``seq``, without the records before it that were not read yet.

        What was read and is not written yet stays queued, no longer protected by the journal. The sink's log
        says how many records are missing as soon as it can be written again.
        """
        self.settle()
        if self.position < seq:
            self._unreported += seq - self.position
            self._worker.dropped += seq - self.position
            self.skipped += seq - self.position
            self.position = seq
        self.written = max(self.written, seq)

    def _report_skipped(self) -> None:
        fields = {"count": self._unreported, "total": self.skipped}
        self._unreported = 0
        self._worker.event("error", "journal_records_lost", fields)

    def _mark(self) -> None:
        if self._marked != self.position:
            self._marked = self.position
            self._worker.mark(partial(self._advance, self.position))

    def _advance(self, position: int) -> None:
        self.written = max(self.written, position)
