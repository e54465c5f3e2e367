"""The metrics: read from the journal's counters when Prometheus asks, no work at all for a hit.

Names follow Prometheus' conventions (base units, ``_total``, ``_timestamp_seconds``, one prefix). Labels
stay few and bounded: never a pid, a port name or a guard id; flavors that no table knows are
``flavor="unknown"``, and their numbers are in the log.
"""

import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from excguard import __version__

UNKNOWN = "unknown"


class Hits(NamedTuple):
    """The hits of one target, guard type and flavor. Names are None where no table has one."""

    target: str
    guard_type: str | None
    flavor: str | None
    severity: str | None
    hits: int
    last_ns: int  # since the epoch; 0 when there was none


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

    hits: list[Hits]
    rejected: Mapping[str, int]
    replies: Replies
    records_lost: int
    log_suppressed: Mapping[str, int]
    log_write_failures: int
    targets: Mapping[str, TargetState]


class Source(Protocol):
    """Who knows the counters."""

    def counters(self) -> Counters:
        """The counters now; may be called from any thread."""


class ExcguardCollector(Collector):
    """Makes fresh metrics of the counters at every scrape."""

    def __init__(self, source: Source, *, kernel: str, release: str) -> None:
        """Read from ``source``."""
        self._source = source
        self._build = {
            "version": __version__,
            "python_version": platform.python_version(),
            "kernel": kernel,
            "release": release,
        }

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not need a running service."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics, built anew."""
        counters = self._source.counters()
        yield from _hits(counters.hits)
        yield _counter(
            "excguard_messages_rejected",
            "Messages on an exception port that were refused, and why.",
            ("reason",),
            {(reason,): count for reason, count in counters.rejected.items()},
        )
        yield _replies(counters.replies)
        yield _counter(
            "excguard_journal_records_lost",
            "Hits that are counted here and missing from the log, because the journal was full.",
            (),
            {(): counters.records_lost},
        )
        yield _counter(
            "excguard_log_suppressed",
            "Hits that the log sums up instead of showing them whole.",
            ("target",),
            {(target,): count for target, count in counters.log_suppressed.items()},
        )
        yield _counter(
            "excguard_log_write_failures",
            "Writes to the log that failed.",
            (),
            {(): counters.log_write_failures},
        )
        yield from _targets(counters.targets)
        yield InfoMetricFamily("excguard_build", "What runs here, and on which kernel.", value=self._build)


def registry(source: Source, *, kernel: str, release: str) -> CollectorRegistry:
    """A registry that holds excguard's metrics and nothing else."""
    made = CollectorRegistry(auto_describe=False)
    made.register(ExcguardCollector(source, kernel=kernel, release=release))
    return made


def _counter(
    name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _hits(hits: Iterable[Hits]) -> Iterator[Metric]:
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    last: dict[str, int] = {}
    for hit in hits:  # several unknown flavors are one series
        counts[hit.target, hit.guard_type or UNKNOWN, hit.flavor or UNKNOWN, hit.severity or UNKNOWN] += (
            hit.hits
        )
        if hit.last_ns:
            last[hit.target] = max(last.get(hit.target, 0), hit.last_ns)
    yield _counter(
        "excguard_hits",
        "EXC_GUARD exceptions raised.",
        ("target", "guard_type", "flavor", "severity"),
        counts,
    )
    family = GaugeMetricFamily(
        "excguard_last_hit_timestamp_seconds", "When the target last raised one.", labels=("target",)
    )
    for target, time_ns in last.items():
        family.add_metric((target,), time_ns / 1e9)
    yield family


def _replies(replies: Replies) -> HistogramMetricFamily:
    buckets = []
    total = 0
    for bound, count in zip((*replies.bounds_ns, None), replies.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound is None else f"{bound / 1e9:.10g}", total))
    return HistogramMetricFamily(
        "excguard_reply_seconds",
        "From receiving an exception message to having answered it: how long the program had to wait.",
        buckets=buckets,
        sum_value=replies.sum_ns / 1e9,
    )


def _targets(targets: Mapping[str, TargetState]) -> Iterator[Metric]:
    up = GaugeMetricFamily("excguard_target_up", "Whether the target's process runs.", labels=("target",))
    for name, state in targets.items():
        up.add_metric((name,), float(state.up))
    yield up
    yield _counter(
        "excguard_target_starts",
        "Processes started for the target.",
        ("target",),
        {(name,): state.starts for name, state in targets.items()},
    )
    yield _counter(
        "excguard_target_exits",
        "Processes of the target that ended, and how.",
        ("target", "reason"),
        {(name, reason): count for name, state in targets.items() for reason, count in state.exits.items()},
    )
