"""The metrics: read from the journal's counters when Prometheus asks, no work at all for a hit.

Names follow Prometheus' conventions (base units, ``_total``, ``_timestamp_seconds``, one prefix). Labels
stay few and bounded: never a pid, a port name or a guard id; flavors that no table knows are
``flavor="unknown"``, and their numbers are in the log. `FAMILIES` says what there is; docs/metrics.md is
made of it.

The hits have thousands of series when many targets are watched. They are written here, from columns of
numbers and label texts that are made once; everything else goes through prometheus_client.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from excguard import __version__
from excguard.decode import Violation
from excguard.sinks.process_metrics import ProcessCollector

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


class HitCounts(NamedTuple):
    """Every hit series, as columns."""

    labels: Sequence[Labels]  # the same object for as long as no series is added
    hits: Sequence[int]
    last_ns: Sequence[int]  # when the last one was, since the epoch; 0 when there was none


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
        "excguard_messages_rejected",
        "counter",
        ("reason",),
        "Messages on an exception port that were refused, and why.",
        "one for each reason there is (from 0 on)",
    ),
    Family(
        "excguard_reply_seconds",
        "histogram",
        (),
        "From receiving an exception message to having answered it: how long the program had to wait.",
        "17 buckets, sum and count",
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
FAMILIES = (HITS, *_OTHERS)
_BY_NAME = {family.name: family for family in FAMILIES}


class Metrics:
    """Writes all metrics in whichever format is asked for."""

    def __init__(self, source: Source, *, kernel: str, release: str) -> None:
        """Read from ``source``."""
        self._source = source
        self._others = _Others(
            {
                "version": __version__,
                "python_version": platform.python_version(),
                "kernel": kernel,
                "release": release,
            }
        )
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._others)
        self._registry.register(ProcessCollector())
        self._labels: Sequence[Labels] = ()
        self._texts: list[str] = []

    def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics now, and their content type, in the best format that ``accept`` (the header) allows.

        For one thread at a time.
        """
        encode, content_type = choose_encoder(accept)
        open_metrics = content_type.startswith("application/openmetrics-text")
        counters = self._others.counters = self._source.counters()
        self._others.open_metrics = open_metrics
        return self._hits(counters, open_metrics=open_metrics).encode() + encode(self._registry), content_type

    def _hits(self, counters: Counters, *, open_metrics: bool) -> str:
        labels, hits, _ = counters.hits
        if labels is not self._labels:
            self._labels = labels
            self._texts = [_label_text(each) for each in labels]
        name = HITS.name if open_metrics else f"{HITS.name}_total"
        head = f"# HELP {name} {HITS.help}\n# TYPE {name} counter\n"
        series = zip(self._texts, hits, strict=True)
        if not open_metrics:
            return head + "".join([f"excguard_hits_total{text} {count}\n" for text, count in series])
        examples = [_exemplar_text(counters.exemplars.get(each)) for each in labels]
        since = f"{counters.counting_since:.3f}"
        return head + "".join(
            [
                f"excguard_hits_total{text} {count}{example}\nexcguard_hits_created{text} {since}\n"
                for (text, count), example in zip(series, examples, strict=True)
            ]
        )


class _Others(Collector):
    """All metrics but the hits, made anew at every scrape of the counters that were put here."""

    def __init__(self, build: dict[str, str]) -> None:
        self._build = build
        self.counters: Counters | None = None
        self.open_metrics = False

    def collect(self) -> Iterator[Metric]:
        counters = self.counters
        if counters is None:
            return
        last: dict[str, int] = {}
        for labels, time_ns in zip(counters.hits.labels, counters.hits.last_ns, strict=True):
            if time_ns:
                last[labels.target] = max(last.get(labels.target, 0), time_ns)
        targets = counters.targets
        yield _gauge(
            "excguard_last_hit_timestamp_seconds", {(name,): time_ns / 1e9 for name, time_ns in last.items()}
        )
        yield self._counter("excguard_received_hits", counters.received, counters.counting_since)
        yield self._counter(
            "excguard_messages_rejected", {(key,): n for key, n in counters.rejected.items()}, counters.made
        )
        yield _replies(counters.replies)
        yield self._counter(
            "excguard_journal_records_lost", {(): counters.records_lost}, counters.counting_since
        )
        yield _gauge("excguard_journal_pending_records", {(): counters.records_pending})
        yield _gauge("excguard_journal_capacity_records", {(): counters.records_capacity})
        yield _gauge("excguard_drain_lag_seconds", {(): counters.drain_lag})
        suppressed = {(name,): count for name, count in counters.log_suppressed.items()}
        yield self._counter("excguard_log_suppressed", suppressed, counters.started)
        failures = {(): counters.log_write_failures}
        yield self._counter("excguard_log_write_failures", failures, counters.started)
        yield _gauge("excguard_target_up", {(name,): state.up for name, state in targets.items()})
        starts = {(name,): state.starts for name, state in targets.items()}
        yield self._counter("excguard_target_starts", starts, counters.started)
        exits = {
            (name, reason): count for name, state in targets.items() for reason, count in state.exits.items()
        }
        yield self._counter("excguard_target_exits", exits, counters.started)
        yield InfoMetricFamily("excguard_build", _BY_NAME["excguard_build"].help, value=self._build)

    def _counter(self, name: str, values: Mapping[Any, float], created: float) -> CounterMetricFamily:
        """The keys of ``values`` are label values."""
        family = CounterMetricFamily(name, _BY_NAME[name].help, labels=_BY_NAME[name].labels)
        for key, value in values.items():
            # The plain text format has no created timestamps; there they would be series of their own.
            family.add_metric(key, value, created=created if self.open_metrics else None)
        return family


def _gauge(name: str, values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, _BY_NAME[name].help, labels=_BY_NAME[name].labels)
    for key, value in values.items():
        family.add_metric(key, float(value))
    return family


def _replies(replies: Replies) -> HistogramMetricFamily:
    buckets = []
    total = 0
    for bound, count in zip((*replies.bounds_ns, None), replies.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound is None else f"{bound / 1e9:.10g}", total))
    name = "excguard_reply_seconds"
    return HistogramMetricFamily(name, _BY_NAME[name].help, buckets=buckets, sum_value=replies.sum_ns / 1e9)


def _label_text(labels: Labels) -> str:
    """The labels as both formats write them."""
    return (
        "{"
        + ",".join(f'{key}="{_escaped(value)}"' for key, value in zip(HITS.labels, labels, strict=True))
        + "}"
    )


def _exemplar_text(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    return f' # {{seq="{exemplar.seq}"}} 1 {exemplar.time_ns / 1e9:.6f}'


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
