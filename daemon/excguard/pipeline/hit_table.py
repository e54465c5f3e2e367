"""The journals' hit counters under their names, cheap enough to be read at every scrape.

Fifty targets with all their flavors are thousands of counters. Numbers are taken from the journal a column
at a time; names are worked out when a counter is new, which is rare.
"""

import itertools
import operator
import threading
from collections.abc import Callable, Iterable, Sequence

from excguard.decoding.decode import decode
from excguard.knowledge import flavors, guards
from excguard.knowledge.severity import Severity
from excguard.pipeline.counters import NO_FLAVOR, HitCounts, Labels, Span, labels_of
from excguard.pipeline.journal import HitCounter, Journal


class HitTable:
    """Reads the counters of all journals."""

    def __init__(
        self,
        journals: Sequence[Journal],
        name: Callable[[int], str],
        targets: Iterable[str],
        release: str,
        version: int,
    ) -> None:
        """Read ``journals``.

        Args:
            journals: whose counters; the same series in several are one.
            name: the target of a number.
            targets: those whose series are there before their first hit, so that it already is an increase
                that an alert can see.
            release: the running release, for `decode`.
            version: the same as `knowledge.releases` counts them.
        """
        self._journals = journals
        self._name = name
        self._release = release
        self._expected = [
            Labels(target, *expected) for target in targets for expected in expected_flavors(version)
        ]
        self._lock = threading.Lock()
        self._keys: list[list[int]] | None = None  # by journal
        self._labels: Sequence[Labels] = ()
        self._spans: list[Span] = []
        self._order: list[int] = []  # for each series its counter's place in the journal's columns
        self._merges: list[tuple[int, list[int]]] = []  # series that are of several counters
        self._targets: list[
            dict[str, list[int]]
        ] = []  # for each journal the places of each target's counters

    def read(self) -> tuple[HitCounts, list[dict[str, int]]]:
        """The counts now; and for each journal its hits by target. From any thread."""
        with self._lock:
            columns = [journal.hit_columns() for journal in self._journals]
            keys = [one.keys for one in columns]
            if keys != self._keys:
                self._relabel(keys)
            # Behind the counters stands the zero of the series that have none.
            counted = [*itertools.chain(*(map(operator.add, one.recorded, one.lost) for one in columns)), 0]
            seen = [*itertools.chain(*(one.last_ns for one in columns)), 0]
            hits = list(map(counted.__getitem__, self._order))
            last_ns = list(map(seen.__getitem__, self._order))
            for series, places in self._merges:
                hits[series] = sum(counted[place] for place in places)
                last_ns[series] = max(seen[place] for place in places)
            by_target = [
                {target: sum(map(counted.__getitem__, places)) for target, places in targets.items()}
                for targets in self._targets
            ]
            return HitCounts(self._labels, hits, last_ns, self._spans), by_target

    def _relabel(self, keys: list[list[int]]) -> None:
        counters = {
            counter.target_id << 32 | counter.guard_type << 29 | counter.flavor: counter
            for journal in self._journals
            for counter in journal.hit_counters()
        }
        self._targets = []
        first = 0
        for own in keys:
            targets: dict[str, list[int]] = {}
            for place, key in enumerate(own, start=first):
                targets.setdefault(self._name(key >> 32), []).append(place)
            self._targets.append(targets)
            first += len(own)
        places: dict[Labels, list[int]] = {labels: [] for labels in self._expected}
        for place, key in enumerate(itertools.chain(*keys)):
            places.setdefault(self._named(counters[key]), []).append(place)
        labels = sorted(places)
        nothing = first
        self._order = [places[each][0] if places[each] else nothing for each in labels]
        self._merges = [(series, places[each]) for series, each in enumerate(labels) if len(places[each]) > 1]
        self._spans = []
        for target, group in itertools.groupby(enumerate(labels), lambda entry: entry[1].target):
            series = [number for number, _ in group]
            self._spans.append(Span(target, series[0], series[-1] + 1))
        self._labels = labels
        self._keys = keys

    def _named(self, counter: HitCounter) -> Labels:
        violation = decode(counter.guard_type << 61 | counter.flavor << 32, None, self._release)
        labels = labels_of(self._name(counter.target_id), violation)
        # The counter of all flavors that came too late for one of their own has no severity.
        return labels if counter.known else labels._replace(severity=counter.severity)


def expected_flavors(release: int) -> list[tuple[str, str, str]]:
    """Guard type, flavor and severity of every guard that ``release`` can raise."""
    pairs = {(row.guard_type, row.value) for row in flavors.table() if row.role == "flavor"}
    return [
        *(
            (guard_type, found[0].name, Severity.of(flavors.severity(guard_type, value, release)))
            for guard_type, value in sorted(pairs)
            if (found := flavors.at(guard_type, value, release))
        ),
        *(
            (guard_type, NO_FLAVOR, Severity.of(flavors.severity(guard_type, 0, release)))
            for guard_type in sorted(guards.WITHOUT_FLAVORS)
        ),
    ]
