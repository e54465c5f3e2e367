"""The metrics: read from the journal's counters when Prometheus asks, no work at all for a hit.

Names follow Prometheus' conventions (base units, ``_total``, ``_timestamp_seconds``, one prefix). Labels
stay few and bounded: never a pid, a port name or a guard id; flavors that no table knows are
``flavor="unknown"``, and their numbers are in the log. `FAMILIES` says what there is; docs/metrics.md is
made of it.

`exposition.py` writes them.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from excguard import __version__
from excguard.decoding.decode import Violation

UNKNOWN = "unknown"
NO_FLAVOR = "none"  # of guard types whose flavor bits mean nothing


class Labels(NamedTuple):
    """What tells one hit series from another."""

    target: str
    guard_type: str
    flavor: str
    severity: str


def labels_of(target: str, violation: Violation) -> Labels:
    """The series that a hit of ``target`` belongs to."""
    return Labels(
        target=target,
        guard_type=violation.guard_type or UNKNOWN,
        flavor=(violation.flavor_name or NO_FLAVOR) if violation.known else UNKNOWN,
        severity=violation.severity or UNKNOWN,
    )


class Span(NamedTuple):
    """Where a target's series are."""

    target: str
    start: int
    stop: int


class HitCounts(NamedTuple):
    """Every hit series, as columns; those of a target stand together."""

    labels: Sequence[Labels]  # the same object for as long as no series is added
    hits: Sequence[int]
    last_ns: Sequence[int]  # when the last one was, since the epoch; 0 when there was none
    targets: Sequence[Span]


class Exemplar(NamedTuple):
    """A hit that stands for its series: one that the log shows whole."""

    seq: int
    time_ns: int


class Replies(NamedTuple):
    """How long the receiver took to answer."""

    bounds_ns: tuple[int, ...]  # upper bounds, inclusive
    counts: tuple[int, ...]  # not cumulative; one more than bounds, the last has no bound
    sum_ns: int


class TargetState(Struct):
    """What became of a target so far."""

    up: bool = False
    starts: int = 0
    exits: dict[str, int] = {}


class Counters(NamedTuple):
    """All that the metrics are made of, at one moment."""

    hits: HitCounts
    exemplars: Mapping[Labels, Exemplar]
    made: float  # since the epoch, seconds: when the journal was made, and counts of messages began
    counting_since: float  # when its hit counters began
    started: float  # when this excguard did
    received: Mapping[tuple[str, str], int]  # by target and source
    rejected: Mapping[str, int]
    replies: Replies
    records_lost: int
    records_pending: int
    records_capacity: int
    drain_lag: float  # seconds
    log_suppressed: Mapping[str, int]
    log_write_failures: int
    source_failures: Mapping[tuple[str, str], int]  # by source and kind
    targets: Mapping[str, TargetState]


class CountersGoneError(Exception):
    """There are no counters any more: excguard is about to end."""


class Source(Protocol):
    """Who knows the counters."""

    def counters(self) -> Counters:
        """The counters now; may be called from any thread. Raises CountersGoneError."""


class Family(NamedTuple):
    """What there is to know of a metric; its name is without the suffix of its type."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str
    series: str  # how many there are


HITS = Family(
    "excguard_hits",
    "counter",
    ("target", "guard_type", "flavor", "severity"),
    "EXC_GUARD exceptions that the kernel raised, by the rule that was broken.",
    "for each target: one for every flavor of the running release (from 0 on), and one for each guard type "
    "and severity of unknown flavors that were seen",
)
REPLIES = Family(
    "excguard_reply_seconds",
    "histogram",
    (),
    "From receiving an exception message to having answered it: how long the program had to wait.",
    "17 buckets, sum and count",
)
_OTHERS = (
    Family(
        "excguard_last_hit_timestamp_seconds",
        "gauge",
        ("target",),
        "When the target last broke a rule, in seconds since 1970. Absent until it has.",
        "one for each target",
    ),
    Family(
        "excguard_received_hits",
        "counter",
        ("target", "source"),
        "The same hits by where excguard learned of them.",
        "one for each target and source",
    ),
    Family(
        "excguard_source_failures",
        "counter",
        ("source", "kind"),
        "What other sources told and could not be read: lines of the unified log, crash reports.",
        "a few; none before the first",
    ),
    Family(
        "excguard_messages_rejected",
        "counter",
        ("reason",),
        "Messages on an exception port that were refused, and why.",
        "one for each reason there is (from 0 on)",
    ),
    Family(
        "excguard_journal_records_lost",
        "counter",
        (),
        "Hits that are counted here and missing from the log, because the journal was full.",
        "1",
    ),
    Family(
        "excguard_journal_pending_records",
        "gauge",
        (),
        "Hits in the journal that the log has not taken yet.",
        "1",
    ),
    Family(
        "excguard_journal_capacity_records",
        "gauge",
        (),
        "Hits that the journal has room for.",
        "1",
    ),
    Family(
        "excguard_drain_lag_seconds",
        "gauge",
        (),
        "For how long the oldest hit that the log has not taken has been waiting; 0 when none waits.",
        "1",
    ),
    Family(
        "excguard_log_suppressed",
        "counter",
        ("target",),
        "Hits that the log sums up instead of showing them whole.",
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
        "excguard_target_up",
        "gauge",
        ("target",),
        "Whether the target's process runs (1) or not (0).",
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
        "Processes of the target that ended, and how.",
        "one for each target and reason (from 0 on)",
    ),
    Family(
        "excguard_build",
        "info",
        ("version", "python_version", "kernel", "release"),
        "What runs here, and on which kernel. Always 1.",
        "1",
    ),
)
FAMILIES = (HITS, REPLIES, *_OTHERS)
_BY_NAME = {family.name: family for family in FAMILIES}


class Values(NamedTuple):
    """A metric as it is now."""

    family: Family
    values: Mapping[tuple[str, ...], float]  # by label values
    created: float | None = None  # of a counter: since when it counts, seconds since the epoch


def build_labels(kernel: str, release: str) -> tuple[str, ...]:
    """The labels of ``excguard_build_info``."""
    return __version__, platform.python_version(), kernel, release


def values(counters: Counters, build: tuple[str, ...]) -> Iterator[Values]:
    """All metrics but the hits and the histogram of reply times."""
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
    yield of("excguard_target_up", {(name,): int(state.up) for name, state in targets.items()})
    starts = {(name,): state.starts for name, state in targets.items()}
    yield of("excguard_target_starts", starts, counters.started)
    exits = {
        (name, reason): count for name, state in targets.items() for reason, count in state.exits.items()
    }
    yield of("excguard_target_exits", exits, counters.started)
    yield of("excguard_build", {build: 1})
