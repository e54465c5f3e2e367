"""The journals' hit counters under their names, cheap enough to be read at every scrape.

Fifty targets with all their flavors are thousands of counters. C adds them up; names are found when a counter
is new, which is rare.
"""

import itertools
import threading
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from excguard.decoding.decode import decode
from excguard.knowledge import flavors, guards
from excguard.knowledge.severity import Severity
from excguard.native import ffi, lib
from excguard.pipeline.counters import NO_FLAVOR, HitCounts, Labels, labels_of
from excguard.pipeline.journal import HitCounter, Journal, hit_counter


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
        self._counters = ffi.new(
            "struct excguard_hit_counter[]", lib.EXCGUARD_HIT_SLOTS * max(len(self._journals), 1)
        )
        self._counts: list[int] = []  # the number of counters of each journal
        self._keys = ffi.new("uint64_t[]", 0)
        self._labels: Sequence[Labels] = ()
        self._series = _Sums([])
        self._targets: Sequence[str] = ()
        self._target_sums = _Sums([])
        self._journal_targets: list[tuple[list[str], _Sums]] = []

    def read(self) -> tuple[HitCounts, list[dict[str, int]]]:
        """The counts now; and for each journal its hits by target. From any thread. Raises JournalError."""
        with self._lock:
            counts: list[int] = []
            for journal in self._journals:
                counts.append(journal.copy_hits(self._counters, sum(counts)))
            same = counts == self._counts and lib.excguard_hit_keys_equal(
                self._counters, self._keys, sum(counts)
            )
            if not same:
                self._relabel(counts)
            hits, last_ns = self._series.of(self._counters)
            _, last_ns_by_target = self._target_sums.of(self._counters)
            by_target = [
                dict(zip(targets, sums.of(self._counters)[0], strict=True))
                for targets, sums in self._journal_targets
            ]
            last = dict(zip(self._targets, last_ns_by_target, strict=True))
            lost = lib.excguard_hits_lost(self._counters, sum(counts))
            return HitCounts(self._labels, hits, last_ns, last, lost), by_target

    def _relabel(self, counts: list[int]) -> None:
        """Find the series and the target of each counter."""
        series: dict[Labels, list[int]] = {labels: [] for labels in self._expected}
        targets: dict[str, list[int]] = {}
        self._journal_targets = []
        keys: list[int] = []
        for count in counts:
            own: dict[str, list[int]] = {}
            for index in range(len(keys), len(keys) + count):
                counter = self._counters[index]
                labels = self._named(hit_counter(counter))
                series.setdefault(labels, []).append(index)
                targets.setdefault(labels.target, []).append(index)
                own.setdefault(labels.target, []).append(index)
                keys.append(counter.key)
            self._journal_targets.append((list(own), _Sums(own.values())))
        self._labels = sorted(series)
        self._series = _Sums(series[labels] for labels in self._labels)
        self._targets = list(targets)
        self._target_sums = _Sums(targets.values())
        self._keys = ffi.new("uint64_t[]", keys)
        self._counts = counts

    def _named(self, counter: HitCounter) -> Labels:
        violation = decode(counter.guard_type << 61 | counter.flavor << 32, None, self._release)
        labels = labels_of(self._name(counter.target_id), violation)
        # The counter of all flavors that came too late for one of their own has no severity.
        return labels if counter.known else labels._replace(severity=counter.severity)


class _Sums:
    """Sums over counters: which belong to each is fixed (native/hit_sums.h)."""

    def __init__(self, groups: Iterable[list[int]]) -> None:
        """One sum for each of ``groups``, which have the indices of counters."""
        groups = list(groups)
        self._members = ffi.new("uint32_t[]", list(itertools.chain(*groups)))
        self._ends = ffi.new("uint32_t[]", list(itertools.accumulate(map(len, groups))))
        self._of = ffi.new("struct excguard_sum_members *", [self._members, self._ends, len(groups)])

    def of(self, counters: Any) -> tuple["array[int]", "array[int]"]:  # noqa: ANN401 - a cffi array
        """For each sum its hits, and when the last of them was, in nanoseconds since the epoch (0: none)."""
        count = self._of.sums
        hits, last_ns = ffi.new("uint64_t[]", max(count, 1)), ffi.new("uint64_t[]", max(count, 1))
        lib.excguard_hit_sums(counters, self._of, hits, last_ns)
        return _copy(hits, count), _copy(last_ns, count)


def _copy(numbers: Any, count: int) -> "array[int]":  # noqa: ANN401 - a cffi array of uint64_t
    # Views of views of a cffi buffer that are in a cycle crash CPython 3.11 when it collects them at its end.
    return array("Q", ffi.buffer(numbers)[: count * 8])


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
