"""The journal's hit counters under their names, cheap enough to be read at every scrape.

Fifty targets with all their flavors are thousands of counters. Numbers are taken from the journal a column
at a time; names are worked out when a counter is new, which is rare.
"""

import operator
import threading
from collections.abc import Callable, Iterable, Sequence

from excguard.decode import decode
from excguard.journal import HitCounter, Journal
from excguard.knowledge import flavors
from excguard.sinks.metrics import NO_FLAVOR, UNKNOWN, HitCounts, Labels, labels_of


class HitTable:
    """Reads the counters of one journal."""

    def __init__(
        self, journal: Journal, name: Callable[[int], str], targets: Iterable[str], release: str, version: int
    ) -> None:
        """Read ``journal``.

        Args:
            journal: whose counters.
            name: the target of a number.
            targets: those whose series are there before their first hit, so that it already is an increase
                that an alert can see.
            release: the running release, for `decode`.
            version: the same as `knowledge.releases` counts them.
        """
        self._journal = journal
        self._name = name
        self._release = release
        self._expected = [
            Labels(target, *expected) for target in targets for expected in _expected_flavors(version)
        ]
        self._lock = threading.Lock()
        self._keys: list[int] | None = None
        self._labels: Sequence[Labels] = ()
        self._series: list[int] | None = None  # of each counter; None when each has its own
        self._silent = [0] * len(self._expected)

    def read(self) -> HitCounts:
        """The counts now; from any thread."""
        with self._lock:
            columns = self._journal.hit_columns()
            if columns.keys != self._keys:
                self._relabel(columns.keys)
            hits = list(map(operator.add, columns.recorded, columns.lost))
            last_ns = columns.last_ns
            if self._series is not None:
                hits, last_ns = self._merged(hits, last_ns)
            return HitCounts(self._labels, hits + self._silent, last_ns + self._silent)

    def _relabel(self, keys: list[int]) -> None:
        counters = {
            counter.target_id << 32 | counter.guard_type << 29 | counter.flavor: counter
            for counter in self._journal.hit_counters()
        }
        named = [self._named(counters[key]) for key in keys]
        index = {labels: number for number, labels in enumerate(dict.fromkeys(named))}
        self._series = None if len(index) == len(named) else [index[labels] for labels in named]
        silent = [labels for labels in self._expected if labels not in index]
        self._silent = [0] * len(silent)
        self._labels = (*index, *silent)
        self._keys = keys

    def _named(self, counter: HitCounter) -> Labels:
        violation = decode(counter.guard_type << 61 | counter.flavor << 32, None, self._release)
        labels = labels_of(self._name(counter.target_id), violation)
        # The counter of all flavors that came too late for one of their own has no severity.
        return labels if counter.known else labels._replace(severity=counter.severity or UNKNOWN)

    def _merged(self, hits: list[int], last_ns: list[int]) -> tuple[list[int], list[int]]:
        """Several counters of unknown flavors are one series."""
        series = self._series or []
        merged_hits = [0] * (max(series) + 1)
        merged_last = merged_hits.copy()
        for number, count, time_ns in zip(series, hits, last_ns, strict=True):
            merged_hits[number] += count
            merged_last[number] = max(merged_last[number], time_ns)
        return merged_hits, merged_last


def _expected_flavors(release: int) -> list[tuple[str, str, str]]:
    """Guard type, flavor and severity of every guard that ``release`` can raise."""
    pairs = {(row.guard_type, row.value) for row in flavors.table() if row.role == "flavor"}
    return [
        *(
            (guard_type, found[0].name, flavors.severity(guard_type, value, release) or UNKNOWN)
            for guard_type, value in sorted(pairs)
            if (found := flavors.at(guard_type, value, release))
        ),
        *(
            (guard_type, NO_FLAVOR, flavors.severity(guard_type, 0, release) or UNKNOWN)
            for guard_type in sorted(flavors.WITHOUT_FLAVORS)
        ),
    ]
