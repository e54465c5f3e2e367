"""The counters: everything the metrics and the live page are made of, at one moment.

They are read from the journal on request, so a hit costs no extra work. `web/metrics.py` names and
describes the metrics that are made of them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from excguard.decoding.violation import Violation
from excguard.knowledge.severity import Severity

UNKNOWN = Severity.UNKNOWN.value
NO_FLAVOR = "none"  # of guard types whose flavor bits mean nothing


class Labels(NamedTuple):
    """The labels of a hit series."""

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
        severity=Severity.of(violation.severity),
    )


class HitCounts(NamedTuple):
    """Every hit series, as columns."""

    labels: Sequence[Labels]  # the same object until a series is added
    hits: Sequence[int]
    last_ns: Sequence[int]  # time of the last hit since the epoch; 0: none
    last_ns_by_target: Mapping[str, int]
    lost: int = 0  # how many of the hits have no record


class Exemplar(NamedTuple):
    """An example of a hit series: a hit that the log has in full."""

    seq: int
    time_ns: int
    site_id: str = ""  # empty when not known


class Replies(NamedTuple):
    """A histogram of the time the receiver took to reply."""

    bounds_ns: tuple[int, ...]  # upper bounds, inclusive
    counts: tuple[int, ...]  # not cumulative; one more than bounds: the last is unbounded
    sum_ns: int


class TargetState(Struct):
    """The state of a target and how often its process started and ended."""

    up: bool = False
    starts: int = 0
    exits: dict[str, int] = {}
    version: str = ""  # of its app, when it was last started; "": not known
    build: str = ""
    visibility: dict[str, str] = {}  # by severity: what receives its hits; empty before the first start
    unseen: tuple[tuple[str, str], ...] = ()  # severities whose hits excguard does not see, and why
    fix: str = ""  # what would let a handler receive them all; empty when one does, or nothing is known


class Counters(NamedTuple):
    """Everything the metrics are made of, at one moment."""

    hits: HitCounts
    exemplars: Mapping[Labels, Exemplar]
    # Seconds since the epoch.
    made: float  # when the journal was created: since then messages and replies are counted
    counting_since: float  # when the hit counters began
    started: float  # when this process started
    received: Mapping[tuple[str, str], int]  # by target and source
    rejected: Mapping[str, int]
    replies: Replies
    records_lost: int
    records_pending: int
    records_capacity: int
    drain_lag: float  # seconds
    log_suppressed: Mapping[str, int]
    log_write_failures: int
    sink_dropped: Mapping[str, int]  # by sink
    source_failures: Mapping[tuple[str, str], int]  # by source and kind
    targets: Mapping[str, TargetState]
    policy_telemetry: Mapping[tuple[str, str], int] = {}  # by target and policy number; not hits
    damaged_files: int = 0  # journals and tables that were set aside
    receiving: bool = True  # whether the receiver runs


class CountersClosedError(Exception):
    """The counters are closed: excguard is stopping."""


class CountersSource(Protocol):
    """What the counters are read from; the service is one."""

    def counters(self) -> Counters:
        """The counters now. For any thread. Raises CountersClosedError."""
