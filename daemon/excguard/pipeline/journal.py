"""The journal from Python's side: the records that wait to be written, and the counters.

`native/journal.h` says how the file works and why a kill at any moment loses nothing. Here one thread reads
records (`Journal.read` from any place, `Journal.release` once nothing needs them any more), and any thread
may read counters.
"""

import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from excguard.knowledge.severity import Severity
from excguard.native import ffi, lib
from excguard.native.closeable import Closeable

# A record: cffi's `struct excguard_record`, valid until `Journal.release` has passed it.
Record = Any


_REASONS = {
    verdict: ffi.string(lib.excguard_verdict_name(verdict)).decode()
    for verdict in range(lib.EXCGUARD_VERDICT_COUNT)
    if verdict not in (lib.EXCGUARD_ACCEPTED, lib.EXCGUARD_NOTIFICATION)
}
"""The verdicts on messages that are rejected, and their names."""


class JournalError(Exception):
    """The journal cannot be used; the text is one line with the file and what to do."""


class JournalDamagedError(JournalError):
    """The file is not a journal, of another version, or contradicts itself."""


class JournalInUseError(JournalError):
    """Another excguard has the journal open."""


def examine(path: Path, *, release: int) -> int:
    """Check a journal without changing it; how many records wait in it.

    Raises:
        JournalDamagedError: as of `Journal`.
        JournalInUseError: another process has it open.
        JournalError: it cannot be opened.
    """
    error = ffi.new("char[512]")
    pending = ffi.new("uint64_t *")
    status = lib.excguard_journal_examine(bytes(path), release, pending, error, len(error))
    if status != lib.EXCGUARD_JOURNAL_OK:
        raise _error(status, error)
    return int(pending[0])


def _error(status: int, text: Any) -> JournalError:  # noqa: ANN401 - a cffi array
    kinds: dict[int, type[JournalError]] = {
        lib.EXCGUARD_JOURNAL_FOREIGN: JournalDamagedError,
        lib.EXCGUARD_JOURNAL_CORRUPT: JournalDamagedError,
        lib.EXCGUARD_JOURNAL_LOCKED: JournalInUseError,
    }
    return kinds.get(status, JournalError)(ffi.string(text).decode("utf-8", "backslashreplace"))


class HitCounter(NamedTuple):
    """How often a target broke one rule; ``hits`` includes those without a record: the ring was full."""

    target_id: int
    guard_type: int
    flavor: int
    severity: Severity
    known: bool  # a table has this flavor on the running release
    hits: int
    last_ns: int
    key: int = 0  # distinguishes it from all other counters of its journal
    slot: int = 0  # its place, which it keeps while the journal is open


class ReplyTimes(NamedTuple):
    """How long replies took: the counts between the bounds, one more than there are bounds."""

    bounds_ns: tuple[int, ...]
    counts: tuple[int, ...]
    sum_ns: int


class Journal(Closeable):
    """An open journal. A thread that reads counters while another closes it gets a `JournalError`."""

    def __init__(self, path: Path, *, capacity: int, release: int) -> None:
        """Open the journal at ``path``, or make it.

        Args:
            path: the file.
            capacity: its number of records when it has to be made; one that exists keeps its own.
            release: the running release as `knowledge.releases` counts them; decides severities.

        Raises:
            JournalDamagedError: its contents contradict each other.
            JournalError: the file cannot be opened, or another excguard has it.
        """
        self.path = path
        self._lock = threading.Lock()
        handle = ffi.new("struct excguard_journal **")
        error = ffi.new("char[512]")
        name = bytes(path)
        status = lib.excguard_journal_open(name, capacity, release, handle, error, len(error))
        if status == lib.EXCGUARD_JOURNAL_CAPACITY:
            status = lib.excguard_journal_open(name, 0, release, handle, error, len(error))
        if status != lib.EXCGUARD_JOURNAL_OK:
            raise _error(status, error)
        self._handle: Any = handle[0]  # None once closed
        lib.excguard_journal_watch(self._handle)
        self.capacity: int = lib.excguard_journal_capacity(self._handle)
        self.recovered_until: int = lib.excguard_journal_recovered_until(self._handle)
        """Records with a lower seq were left by an excguard that ended before it had dealt with them."""
        self.made: float = lib.excguard_journal_made_ns(self._handle) / 1e9
        """When the file was made, seconds since the epoch; refusals and replies are counted since."""
        self.counting_since: float = lib.excguard_journal_counting_since_ns(self._handle) / 1e9
        """When the hit counters began, likewise."""
        oldest: Any = ffi.new("struct excguard_record **")
        lib.excguard_journal_peek(self._handle, oldest, 0)
        self.tail: int = self.recovered_until - lib.excguard_journal_pending(self._handle)
        """The seq of the oldest record that has not been released."""
        self._ring = oldest[0] - self.tail % self.capacity

    @property
    def handle(self) -> Any:  # noqa: ANN401 - a cffi pointer
        """The C journal, for the receiver to write to."""
        return self._handle

    @property
    def head(self) -> int:
        """The seq of the next record that will be written."""
        return self.tail + int(lib.excguard_journal_pending(self._handle))

    def read(self, seq: int, most: int) -> tuple[Record, int]:
        """The records from ``seq`` on, in order: a pointer to the first, and their number.

        A batch ends where the ring does, so only a number of 0 says that there is none.

        Args:
            seq: from `tail` to `head`.
            most: how many at most.
        """
        place = seq % self.capacity
        return self._ring + place, min(self.head - seq, self.capacity - place, most)

    def verify(self, seq: int, count: int) -> None:
        """Refuse records that the receiver has not written, or not where they are.

        Args:
            seq: of the first.
            count: their number.

        Raises:
            JournalDamagedError: another program has changed or truncated the file.
        """
        if count < 0 or not lib.excguard_journal_intact(self._handle, self.tail, seq, count):
            raise JournalDamagedError(
                f"{self.path}: another program has changed or truncated the journal while it was in use; "
                "the next start sets it aside"
            )

    def release(self, seq: int) -> None:
        """Let the room of all records before ``seq`` be used again."""
        if seq > self.tail:
            lib.excguard_journal_advance(self._handle, seq - self.tail)
            self.tail = seq

    def append(  # noqa: PLR0913 - the fields of a record
        self, *, target_id: int, pid: int, time_ns: int, code: int, subcode: int, flags: int
    ) -> None:
        """Record and count a hit that came to no exception port, in a journal that no receiver writes to.

        Args:
            target_id: whose it is.
            pid: of the process; 0 when not known.
            time_ns: when it happened, since the epoch.
            code: all 64 bits.
            subcode: likewise.
            flags: ``EXCGUARD_RECORD_`` bits.
        """
        hit = ffi.new("struct excguard_hit *")
        hit.target_id, hit.pid, hit.time_ns = target_id, pid, time_ns
        hit.code, hit.subcode, hit.flags = code, subcode, flags
        hit.reply = lib.KERN_FAILURE  # nothing was answered; whatever handlers there are were not stopped
        lib.excguard_journal_append(self._handle, hit)

    @property
    def pending(self) -> int:
        """How many records wait."""
        with self._lock:
            return int(lib.excguard_journal_pending(self._open()))

    @property
    def waiting_seconds(self) -> float:
        """For how long the oldest record that waits has done so; 0 when none does.

        Any thread may ask. While the reader gives records back the answer may be of a little younger one.
        """
        oldest = ffi.new("struct excguard_record **")
        with self._lock:
            if not lib.excguard_journal_peek(self._open(), oldest, 1):
                return 0.0
            return float(max(0.0, time.time() - oldest[0].time_ns / 1e9))

    @property
    def lost(self) -> int:
        """How many hits have no record because the ring was full."""
        with self._lock:
            return int(lib.excguard_journal_lost(self._open()))

    def hit_counters(self) -> list[HitCounter]:
        """Every counter in use."""
        counters = ffi.new("struct excguard_hit_counter[]", lib.EXCGUARD_HIT_SLOTS)
        with self._lock:
            count = lib.excguard_journal_hits(self._open(), counters, lib.EXCGUARD_HIT_SLOTS)
        return [_hit_counter(counter) for counter in counters[0:count]]

    def add_hits(self, labels: Any, sums: Any) -> bool:  # noqa: ANN401 - cffi pointers
        """Add every counter to ``sums``, by its label (native/hit_sums.h); False: some have none."""
        with self._lock:
            return bool(lib.excguard_hit_sums_add(self._open(), labels, sums))

    def rejected(self) -> dict[str, int]:
        """How many messages were refused, by reason; every reason there is, also those that never came."""
        counts = ffi.new("uint64_t[]", lib.EXCGUARD_VERDICT_COUNT)
        with self._lock:
            lib.excguard_journal_rejected(self._open(), counts)
        return {reason: counts[verdict] for verdict, reason in _REASONS.items()}

    def replies(self) -> ReplyTimes:
        """The histogram of reply times."""
        histogram = ffi.new("struct excguard_reply_histogram *")
        with self._lock:
            lib.excguard_journal_replies(self._open(), histogram)
        bounds = tuple(lib.excguard_reply_bounds_ns[0 : lib.EXCGUARD_REPLY_BOUNDS])
        return ReplyTimes(bounds, tuple(histogram.buckets), histogram.sum_ns)

    def close(self) -> None:
        """Unlock and let go. The receiver must have been stopped."""
        with self._lock:
            if self._handle is not None:
                lib.excguard_journal_unwatch(self._handle)
                lib.excguard_journal_close(self._handle)
                self._handle = None

    def _open(self) -> Any:  # noqa: ANN401 - a cffi pointer
        """The handle; the lock is held, so that it stays valid."""
        if self._handle is None:
            raise JournalError(f"{self.path}: closed")
        return self._handle


def _hit_counter(counter: Any) -> HitCounter:  # noqa: ANN401 - a cffi pointer
    """A ``struct excguard_hit_counter``."""
    return HitCounter(
        counter.target_id,
        counter.guard_type,
        counter.flavor,
        Severity.numbered(counter.severity),
        bool(counter.known),
        counter.recorded + counter.lost,
        counter.last_time_ns,
        counter.key,
        counter.slot,
    )
