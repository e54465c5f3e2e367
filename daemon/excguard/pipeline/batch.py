"""Many records at once, by their columns: what a storm of hits is counted from.

A site whose hits are only counted needs no record looked at one by one. Where all records are alike, as in
most storms, C finds that out; otherwise columns are taken and grouped by functions of C, at a tenth of the
cost.
"""

from collections import Counter
from typing import Any, Final

from excguard.native import ffi, lib

MIN_SIZE: Final = 8
"""Records from which on this pays."""

_WORDS: Final = lib.EXCGUARD_RECORD_SIZE // 8
# The 64-bit words of a record (native/journal.h); a test compares them.
_TIME, _PROCESS, _CODE, _TAG, _PC = 1, 3, 4, 7, 9
_FLAGS: Final = 32  # the first bit of the flags within the word of the tag
_BOUNDS: Final = (ffi.new("uint64_t *"), ffi.new("uint64_t *"))  # of times, as C gives them


class Batch:
    """The columns of adjacent records.

    Attributes:
        count: how many they are.
        counts: how many of each site, see `record.site_of`.
        first: the index of each site's first record.
        last: of its last one.
        earliest_ns: the least of their times, nanoseconds since 1970.
        latest_ns: the greatest.
    """

    def __init__(self, records: Any, count: int) -> None:  # noqa: ANN401 - a cffi pointer
        """Take the columns of ``count`` records from ``records`` on."""
        self._records = records
        self.count = count
        self._alike = lib.excguard_record_run(records, count, *_BOUNDS) == count
        if self._alike:
            site = (records[0].target_id, records[0].code >> 32, 0)
            self.counts, self.first, self.last = Counter({site: count}), {site: 0}, {site: count - 1}
            self.earliest_ns, self.latest_ns = _BOUNDS[0][0], _BOUNDS[1][0]
            return
        words = memoryview(ffi.buffer(records, count * lib.EXCGUARD_RECORD_SIZE)).cast("B").cast("Q")
        self._processes: list[int] = words[_PROCESS::_WORDS].tolist()
        self._codes: list[int] = words[_CODE::_WORDS].tolist()
        times: list[int] = words[_TIME::_WORDS].tolist()
        self.earliest_ns, self.latest_ns = min(times), max(times)
        registers = lib.EXCGUARD_RECORD_REGISTERS << _FLAGS
        tags: list[int] = words[_TAG::_WORDS].tolist()
        self._pcs = pcs = [0] * count
        has_pcs = any(tag & registers for tag in set(tags))
        if has_pcs:
            self._pcs = pcs = [
                pc if tag & registers else 0
                for pc, tag in zip(words[_PC::_WORDS].tolist(), tags, strict=True)
            ]
        targets = [process >> 32 for process in self._processes]
        guards = [code >> 32 for code in self._codes]
        self._sites = sites = list(zip(targets, guards, pcs, strict=True))
        self.counts = Counter(sites)
        self.last = dict(zip(sites, range(count), strict=True))
        self.first = dict(zip(reversed(sites), range(count - 1, -1, -1), strict=True))

    def record(self, index: int) -> Any:  # noqa: ANN401 - a cffi struct
        """One of the records."""
        return self._records[index]

    def by_process(self) -> list[tuple[int, int]]:
        """The sites of each process: the index of its first record, and how many there are."""
        if self._alike or len(set(self._processes)) == 1:
            return [(self.first[site], hits) for site, hits in self.counts.items()]
        sites = list(zip(self._processes, self._sites, strict=True))
        counts = Counter(sites)
        first = dict(zip(reversed(sites), range(self.count - 1, -1, -1), strict=True))
        return [(first[site], hits) for site, hits in counts.items()]

    def ports(self) -> list[Any]:
        """One record of each process, program counter and code, which has the port: the last."""
        kinds = zip(self._processes, self._pcs, self._codes, strict=True)
        last = dict(zip(kinds, range(self.count), strict=True))
        return [self._records[index] for index in last.values()]

    def kinds(self) -> list[Any]:
        """One record of each process and code: the last."""
        if self._alike:
            return [self._records[self.count - 1]]
        last = dict(zip(zip(self._processes, self._codes, strict=True), range(self.count), strict=True))
        return [self._records[index] for index in last.values()]


class Batches:
    """Gives several readers of one journal the same batch, when they are at the same place."""

    def __init__(self) -> None:
        """Begin without any."""
        self._at = (0, 0)
        self._batch: Batch | None = None

    def get(self, seq: int, records: Any, count: int) -> Batch:  # noqa: ANN401 - a cffi pointer
        """The batch of the ``count`` records from ``seq`` on, at ``records``."""
        if self._batch is None or self._at != (seq, count):
            self._batch, self._at = Batch(records, count), (seq, count)
        return self._batch
