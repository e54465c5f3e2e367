"""The journals' hit counters under their names, cheap enough to be read at every scrape.

Fifty targets with all their flavors are thousands of counters. C adds them up; names are found when a counter
is new, which is rare.
"""

import threading
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from excguard.decoding.decode import decode
from excguard.knowledge import flavors, guards
from excguard.knowledge.severity import Severity
from excguard.native import ffi, lib
from excguard.pipeline.counters import NO_FLAVOR, HitCounts, Labels, labels_of
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
        self._of: list[Any] = []
        """For each journal a ``struct excguard_hit_label`` for each slot."""
        self._labels: Sequence[Labels] = ()
        self._targets: Sequence[str] = ()
        self._relabel()

    def read(self) -> tuple[HitCounts, list[dict[str, int]]]:
        """The counts now; and for each journal its hits by target. From any thread. Raises JournalError."""
        with self._lock:
            sums = self._sums()
            if not sums.complete:
                self._relabel()
                sums = self._sums()  # without a counter that is newer still: the next reading has it
            last = dict(zip(self._targets, sums.target_last_ns, strict=True))
            by_target = [
                {target: hits for target, hits in zip(self._targets, counts, strict=True) if hits}
                for counts in sums.target_hits
            ]
            return HitCounts(self._labels, sums.hits, sums.last_ns, last, sums.lost), by_target

    def _sums(self) -> "_Sums":
        sums = _Sums(len(self._labels), len(self._targets))
        for journal, labels in zip(self._journals, self._of, strict=True):
            sums.add(journal, labels)
        return sums

    def _relabel(self) -> None:
        """Find the series and the target of each counter."""
        found = [
            [(counter, self._named(counter)) for counter in one.hit_counters()] for one in self._journals
        ]
        labels = [each for of_one in found for _, each in of_one]
        self._labels = sorted({*self._expected, *labels})
        series = {each: index for index, each in enumerate(self._labels)}
        self._targets = list(dict.fromkeys(each.target for each in labels))
        targets = {target: index for index, target in enumerate(self._targets)}
        # New ones: another program may have taken a counter out of the file, and put it back later.
        self._of = [ffi.new("struct excguard_hit_label[]", lib.EXCGUARD_HIT_SLOTS) for _ in found]
        for of, of_one in zip(self._of, found, strict=True):
            for counter, each in of_one:
                of[counter.slot] = [counter.key, series[each], targets[each.target]]

    def _named(self, counter: HitCounter) -> Labels:
        violation = decode(counter.guard_type << 61 | counter.flavor << 32, None, self._release)
        labels = labels_of(self._name(counter.target_id), violation)
        # The counter of all flavors that came too late for one of their own has no severity.
        return labels if counter.known else labels._replace(severity=counter.severity)


class _Sums:
    """The sums at one moment, as columns.

    Attributes:
        hits: by series.
        last_ns: likewise, when the last of them was, since the epoch; 0: none.
        target_hits: of each journal, by target.
        target_last_ns: of all journals, by target.
        lost: how many hits have no record.
        complete: whether every counter with hits had a label.
    """

    def __init__(self, series: int, targets: int) -> None:
        """All 0."""
        self.hits, self.last_ns = _zeros(series), _zeros(series)
        self.target_hits: list[array[int]] = []
        self.target_last_ns = _zeros(targets)
        self.lost = 0
        self.complete = True

    def add(self, journal: Journal, labels: Any) -> None:  # noqa: ANN401 - a cffi array
        """Add the counters of ``journal``. Raises JournalError."""
        target_hits = _zeros(len(self.target_last_ns))
        columns = (self.hits, self.last_ns, target_hits, self.target_last_ns)
        buffers = [ffi.from_buffer("uint64_t[]", column) for column in columns]
        sums = ffi.new("struct excguard_hit_sums *", buffers)
        self.complete &= journal.add_hits(labels, sums)
        self.target_hits.append(target_hits)
        self.lost += sums.lost


def _zeros(count: int) -> "array[int]":
    return array("Q", (0,)) * count


def expected_flavors(release: int) -> list[tuple[str, str, str]]:
    """Guard type, flavor and severity of every guard that ``release`` can raise.

    A row without a severity is of telemetry in the kernel's log, which no program raises.
    """
    pairs = {
        (row.guard_type, row.value)
        for row in flavors.table()
        if row.role == "flavor" and row.severity is not Severity.UNKNOWN
    }
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
