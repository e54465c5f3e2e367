"""Reads everything that is counted, for the metrics and the live page; from any thread."""

import time
from collections.abc import Mapping
from itertools import product

from excguard.knowledge import releases
from excguard.mach.host import Host
from excguard.pipeline.counters import Counters, CountersClosedError, Replies, TargetState
from excguard.pipeline.hit_table import HitTable
from excguard.pipeline.journal import JournalError
from excguard.pipeline.pipeline import Pipeline


class CounterReader:
    """The counters of a pipeline and its targets."""

    def __init__(self, pipeline: Pipeline, host: Host) -> None:
        """Begin without targets."""
        self._pipeline = pipeline
        self._host = host
        self._started = time.time()
        self._targets: Mapping[str, TargetState] = {}
        self._table = self._hit_table()

    def watch(self, targets: Mapping[str, TargetState]) -> None:
        """Have the series of ``targets``, and no others, before their first hit; not changed afterwards."""
        self._targets = targets
        self._table = self._hit_table()

    def read(
        self,
        source_failures: Mapping[tuple[str, str], int],
        policy_telemetry: Mapping[tuple[str, str], int],
        *,
        receiving: bool,
    ) -> Counters:
        """Everything, as it is now. Raises CountersClosedError once the pipeline is closed."""
        pipeline, targets = self._pipeline, self._targets
        live, streams = pipeline.live.journal, pipeline.streams
        try:
            hits, by_target = self._table.read()
            replies = live.replies()
            received = dict.fromkeys(product(targets, [stream.source for stream in streams]), 0)
            for stream, counted in zip(streams, by_target, strict=True):
                received |= {(target, stream.source): count for target, count in counted.items()}
            return Counters(
                hits=hits,
                exemplars=pipeline.exemplars.newest,
                made=live.made,
                counting_since=live.counting_since,
                started=self._started,
                received=received,
                rejected=live.rejected(),
                replies=Replies(replies.bounds_ns, replies.counts, replies.sum_ns),
                records_lost=hits.lost,
                records_pending=live.pending,
                records_capacity=live.capacity,
                drain_lag=live.waiting_seconds,
                log_suppressed=pipeline.suppressed(targets),
                source_failures=source_failures,
                policy_telemetry=policy_telemetry,
                log_write_failures=pipeline.write_failures,
                sink_dropped=pipeline.dropped,
                targets=targets,
                damaged_files=pipeline.damaged,
                receiving=receiving,
            )
        except JournalError as error:
            raise CountersClosedError(str(error)) from error

    def _hit_table(self) -> HitTable:
        return HitTable(
            [stream.journal for stream in self._pipeline.streams],
            self._pipeline.names.name,
            self._targets,
            self._host.release,
            releases.parse(self._host.release).version,
        )
