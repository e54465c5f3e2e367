"""The metrics that ``/metrics`` exposes: their families, and their values from the counters.

Names follow Prometheus' conventions (base units, ``_total``, ``_timestamp_seconds``, one prefix). Labels
are few and bounded: never a pid, a port name or a guard id; flavors that no table has are
``flavor="unknown"``, and their numbers are in the log. `FAMILIES` lists the metrics; docs/metrics.md is
generated from it. `exposition.py` writes them.
"""

import platform
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from excguard import __version__
from excguard.pipeline.counters import Counters


class Family(NamedTuple):
    """The description of a metric."""

    name: str  # without the suffix of its type
    type: str
    labels: tuple[str, ...]
    help: str
    series: str  # how many there are, for docs/metrics.md


HITS = Family(
    "excguard_hits",
    "counter",
    ("target", "guard_type", "flavor", "severity"),
    "EXC_GUARD exceptions that the kernel raised, by the rule that was broken.",
    "for each target: one for each flavor of the running release (from 0 on), and one for each guard type "
    "and severity of unknown flavors that occurred",
)
REPLIES = Family(
    "excguard_reply_seconds",
    "histogram",
    (),
    "Time from receiving an exception message to replying to it: how long the program's thread waited.",
    "17 buckets, sum and count",
)
_OTHERS = (
    Family(
        "excguard_last_hit_timestamp_seconds",
        "gauge",
        ("target",),
        "Time of the target's last hit, in seconds since 1970. Absent before the first.",
        "one for each target",
    ),
    Family(
        "excguard_received_hits",
        "counter",
        ("target", "source"),
        "The same hits by the source that reported them.",
        "one for each target and source",
    ),
    Family(
        "excguard_source_failures",
        "counter",
        ("source", "kind"),
        "Input of other sources that could not be read: lines of the unified log, crash reports.",
        "a few; none before the first",
    ),
    Family(
        "excguard_messages_rejected",
        "counter",
        ("reason",),
        "Messages on an exception port that were rejected, by reason.",
        "one for each possible reason (from 0 on)",
    ),
    Family(
        "excguard_journal_records_lost",
        "counter",
        (),
        "Hits that are counted but missing from the log, because the journal was full.",
        "1",
    ),
    Family(
        "excguard_journal_pending_records",
        "gauge",
        (),
        "Hits in the journal that are not logged yet.",
        "1",
    ),
    Family(
        "excguard_journal_capacity_records",
        "gauge",
        (),
        "Number of hits that the journal has room for.",
        "1",
    ),
    Family(
        "excguard_drain_lag_seconds",
        "gauge",
        (),
        "Age of the oldest hit that is not logged yet; 0 when all are logged.",
        "1",
    ),
    Family(
        "excguard_log_suppressed",
        "counter",
        ("target",),
        "Hits that the log reports as a count instead of in full.",
        "one for each target",
    ),
    Family(
        "excguard_log_write_failures",
        "counter",
        (),
        "Writes to the log that failed.",
        "1",
    ),
    Family(
        "excguard_sink_dropped",
        "counter",
        ("sink",),
        "Hits and events that a sink did not take: it was too slow, stuck for too long, or failed.",
        "one for each sink (from 0 on)",
    ),
    Family(
        "excguard_target_up",
        "gauge",
        ("target",),
        "Whether the target's process is running (1) or not (0).",
        "one for each target",
    ),
    Family(
        "excguard_target_starts",
        "counter",
        ("target",),
        "Processes started for the target.",
        "one for each target",
    ),
    Family(
        "excguard_target_exits",
        "counter",
        ("target", "reason"),
        "Processes of the target that ended, by reason.",
        "one for each target and reason (from 0 on)",
    ),
    Family(
        "excguard_build",
        "info",
        ("version", "python_version", "kernel", "release"),
        "Version of excguard and of the system it runs on. Always 1.",
        "1",
    ),
)
FAMILIES = (HITS, REPLIES, *_OTHERS)
_BY_NAME = {family.name: family for family in FAMILIES}


class Values(NamedTuple):
    """The values of a metric at one moment."""

    family: Family
    values: Mapping[tuple[str, ...], float]  # by label values
    created: float | None = None  # of a counter: when it was 0, seconds since the epoch


def build_labels(kernel: str, release: str) -> tuple[str, ...]:
    """The labels of ``excguard_build_info``."""
    return __version__, platform.python_version(), kernel, release


def values(counters: Counters, build: tuple[str, ...]) -> Iterator[Values]:
    """All metrics except `HITS` and `REPLIES`."""
    hits, targets, since = counters.hits, counters.targets, counters.counting_since

    def of(name: str, found: Mapping[Any, float], created: float | None = None) -> Values:
        return Values(_BY_NAME[name], found, created)

    last = {
        (span.target,): time_ns / 1e9
        for span in hits.targets
        if (time_ns := max(hits.last_ns[span.start : span.stop]))
    }
    yield of("excguard_last_hit_timestamp_seconds", last)
    yield of("excguard_received_hits", counters.received, since)
    yield of("excguard_source_failures", counters.source_failures, counters.started)
    rejected = {(reason,): count for reason, count in counters.rejected.items()}
    yield of("excguard_messages_rejected", rejected, counters.made)
    yield of("excguard_journal_records_lost", {(): counters.records_lost}, since)
    yield of("excguard_journal_pending_records", {(): counters.records_pending})
    yield of("excguard_journal_capacity_records", {(): counters.records_capacity})
    yield of("excguard_drain_lag_seconds", {(): counters.drain_lag})
    suppressed = {(name,): count for name, count in counters.log_suppressed.items()}
    yield of("excguard_log_suppressed", suppressed, counters.started)
    yield of("excguard_log_write_failures", {(): counters.log_write_failures}, counters.started)
    dropped = {(name,): count for name, count in counters.sink_dropped.items()}
    yield of("excguard_sink_dropped", dropped, counters.started)
    yield of("excguard_target_up", {(name,): int(state.up) for name, state in targets.items()})
    starts = {(name,): state.starts for name, state in targets.items()}
    yield of("excguard_target_starts", starts, counters.started)
    exits = {
        (name, reason): count for name, state in targets.items() for reason, count in state.exits.items()
    }
    yield of("excguard_target_exits", exits, counters.started)
    yield of("excguard_build", {build: 1})
