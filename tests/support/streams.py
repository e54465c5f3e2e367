"""A stream of hits on a real journal, whose sinks are flushed when the test says so and not by threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from excguard.config import Log
from excguard.mach.host import Host
from excguard.native import ffi, lib
from excguard.pipeline.exemplars import Exemplars
from excguard.pipeline.hit import LIVE
from excguard.pipeline.journal import Journal
from excguard.pipeline.sink_worker import CAPACITY
from excguard.pipeline.stream import Stream
from excguard.testing import FakeSink
from tests.support.samples import INVALID_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

HOST = Host("26.4", "25E246", "simulated", "arm64", developer_mode=True, guard_behavior=0x99)
RELEASE = 260400


class Names:
    """Every number has a name."""

    def name(self, number: int) -> str:
        return f"target-{number}"


class RecordingSink(FakeSink):
    """A `FakeSink` that also checks the names of the targets."""

    def __init__(self, name: str = "log") -> None:
        super().__init__(name)

    def suppressed(self, group: Any, target: str, violation: Any) -> None:
        assert target == f"target-{group.target_id}"
        super().suppressed(group, target, violation)


class BestEffortSink(RecordingSink):
    durable: ClassVar[bool] = False


class InlineWorker:
    """As `SinkWorker`, without a thread."""

    def __init__(self, sink: RecordingSink, capacity: int = CAPACITY) -> None:
        self.sink = sink
        self.dropped = 0
        self._capacity = capacity
        self._queued = 0
        self._marks: list[Callable[[], None]] = []

    @property
    def room(self) -> int:
        return max(self._capacity - self._queued, 0)

    def hit(self, hit: Any) -> None:
        self._queued += 1
        self.sink.hit(hit)

    def hits(self, hits: Sequence[Any]) -> None:
        for hit in hits:
            self.hit(hit)

    def suppressed(self, *arguments: Any) -> None:
        self.sink.suppressed(*arguments)

    def event(self, *arguments: Any) -> None:
        self.sink.event(*arguments)

    def mark(self, written: Callable[[], None]) -> None:
        self._marks.append(written)

    def flush(self) -> None:
        if self.sink.flush():
            marks, self._marks = self._marks, []
            self._queued = 0
            for written in marks:
                written()


class Ring:
    """A journal that outlives its readers, and the stream that reads it at present."""

    def __init__(self, path: Path, capacity: int = 64) -> None:
        self._path = path
        self._capacity = capacity
        self.appended = 0
        self.open()

    def open(self) -> None:
        self.journal = Journal(self._path, capacity=self._capacity, release=RELEASE)

    def append(self, *, guard: int = INVALID_NAME >> 32, release: int = 0, **changes: int) -> None:
        """Write a record as the receiver does; its subcode is its number.

        Registers get into the record whatever its flags say: as if an older record had left them there.
        """
        registers = {name: changes.pop(name) for name in ("pc", "lr", "sp") if name in changes}
        seq = self.journal.head
        fields = {"time_ns": 10**18 + seq, "pid": 100, "target_id": 1, "behavior": 4, "reply": 5}
        hit = ffi.new("struct excguard_hit *", fields | {"thread_id": 5} | changes)
        hit.code, hit.subcode = guard << 32 | 0x2703, seq
        self.appended += lib.excguard_journal_append(self.journal.handle, hit)
        record = self.journal.read(seq, 1)[0]
        for name, value in registers.items():
            setattr(record[0], name, value)
        if release:
            record[0].release = release

    def kill(self) -> None:
        """The process ends; the next one opens the journal."""
        self.journal.close()
        self.open()


class InlineStream:
    """A stream whose sinks are flushed after each step."""

    def __init__(self, ring: Ring, *sinks: RecordingSink, first: int = 2, capacity: int = CAPACITY) -> None:
        self.stream = Stream(
            LIVE, ring.journal, Log(first=first), names=Names(), host=HOST, exemplars=Exemplars()
        )
        self.workers = [InlineWorker(sink, capacity) for sink in sinks]
        for worker in self.workers:
            self.stream.add(worker)

    def read(self) -> bool:
        more = self.stream.read()
        self.flush()
        return more

    def settle(self) -> bool:
        self.stream.settle()
        return self.flush()

    def flush(self) -> bool:
        for worker in self.workers:
            worker.flush()
        return self.stream.written()

    def all(self) -> bool:
        self.flush()
        while self.read():  # after each flush there is room again
            pass
        return self.settle()
