"""The metrics that ``/metrics`` exposes: their families, and their values from the counters.

Names follow Prometheus' conventions (base units, ``_total``, ``_timestamp_seconds``, one prefix). Labels
are few and bounded: never a pid, a port name or a guard id; flavors that no table has are
``flavor="unknown"``, and their numbers are in the log. `FAMILIES` lists the metrics; docs/metrics.md is
generated from it. `exposition.py` writes them.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from excguard import __version__
from excguard.pipeline.counters import Counters, TargetState


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
    "Time from receiving an exception message until it is recorded and its reply is ready. System calls that "
    "send the reply and release what the message carried are not in it.",
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
        "excguard_policy_telemetry",
        "counter",
        ("target", "policy"),
        "Lines of the unified log about an IPC policy that only counts (flavor 0). They are not hits.",
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
        "excguard_damaged_files",
        "counter",
        (),
        "Damaged journals and tables of target names that were set aside at the start.",
        "1",
    ),
    Family(
        "excguard_receiver_up",
        "gauge",
        (),
        "Whether exceptions are being received (1) or not (0): then excguard ends, to be started again.",
        "1",
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
        "excguard_target",
        "info",
        ("target", "version", "build"),
        "Version and build of the target's app bundle at its last start. Always 1.",
        "one for each target",
    ),
    Family(
        "excguard_target_visibility",
        "gauge",
        ("target", "severity", "by"),
        "What receives hits of a severity: handler, unified_log, crash_report or nothing. Always 1.",
        "three for each target that was started",
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


LabelValues = Sequence[tuple[str, ...]] | Sequence[str]
"""The label values of each sample of a metric; of one with a single label the value alone."""

NO_LABELS: LabelValues = [()]
"""Of a metric with one sample, which has no labels."""


class Values(NamedTuple):
    """The values of a metric at one moment, as columns."""

    family: Family
    labels: LabelValues
    values: Sequence[int] | Sequence[float]  # of one type
    created: float | None = None  # of a counter: when it was 0, seconds since the epoch
    decimals: int = 0  # of integers: how many of their digits are behind the decimal point


class Metrics:
    """The values of all metrics except `HITS` and `REPLIES`."""

    def __init__(self, kernel: str, release: str) -> None:
        """``kernel`` and ``release`` are those of the running system."""
        self._build = __version__, platform.python_version(), kernel, release
        self._targets: Mapping[str, TargetState] | None = None
        self._names: list[str] = []
        self._exits: list[tuple[str, str]] = []  # target and reason

    def values(self, counters: Counters) -> Iterator[Values]:
        """The values at one moment."""
        since, started = counters.counting_since, counters.started
        last = {name: time_ns for name, time_ns in counters.hits.last_ns_by_target.items() if time_ns}
        yield _by_label("excguard_last_hit_timestamp_seconds", last)._replace(decimals=9)
        yield _by_labels("excguard_received_hits", counters.received, since)
        yield _by_labels("excguard_source_failures", counters.source_failures, started)
        yield _by_labels("excguard_policy_telemetry", counters.policy_telemetry, started)
        yield _by_label("excguard_messages_rejected", counters.rejected, counters.made)
        yield _single("excguard_journal_records_lost", counters.records_lost, since)
        yield _single("excguard_journal_pending_records", counters.records_pending)
        yield _single("excguard_journal_capacity_records", counters.records_capacity)
        yield _single("excguard_drain_lag_seconds", round(counters.drain_lag * 1e9))._replace(decimals=9)
        yield _by_label("excguard_log_suppressed", counters.log_suppressed, started)
        yield _single("excguard_log_write_failures", counters.log_write_failures, started)
        yield _by_label("excguard_sink_dropped", counters.sink_dropped, started)
        yield _single("excguard_damaged_files", counters.damaged_files, started)
        yield _single("excguard_receiver_up", counters.receiving)
        yield from self._of_targets(counters.targets, started)
        yield Values(_BY_NAME["excguard_build"], [self._build], [1])

    def _of_targets(self, targets: Mapping[str, TargetState], started: float) -> Iterator[Values]:
        states = list(targets.values())
        exits = list(chain.from_iterable(map(dict.values, [state.exits for state in states])))
        # The mapping is replaced when targets change, and a target has all its reasons from the start.
        if targets is not self._targets or len(exits) != len(self._exits):
            self._targets = targets
            self._names = list(targets)
            self._exits = [(name, reason) for name, state in targets.items() for reason in state.exits]
        yield Values(_BY_NAME["excguard_target_up"], self._names, [state.up for state in states])
        yield Values(
            _BY_NAME["excguard_target_starts"], self._names, [state.starts for state in states], started
        )
        yield Values(_BY_NAME["excguard_target_exits"], self._exits, exits, started)
        versions = [(name, state.version, state.build) for name, state in targets.items()]
        yield Values(_BY_NAME["excguard_target"], versions, [1] * len(versions))
        visible = [
            (name, severity, by)
            for name, state in targets.items()
            for severity, by in state.visibility.items()
        ]
        yield Values(_BY_NAME["excguard_target_visibility"], visible, [1] * len(visible))


def _single(name: str, value: float, created: float | None = None) -> Values:
    return Values(_BY_NAME[name], NO_LABELS, [value], created)


def _by_label(name: str, found: Mapping[str, float], created: float | None = None) -> Values:
    return Values(_BY_NAME[name], list(found), list(found.values()), created)


def _by_labels(name: str, found: Mapping[tuple[str, str], int], created: float) -> Values:
    return Values(_BY_NAME[name], list(found), list(found.values()), created)
