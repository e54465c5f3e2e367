"""The thread that feeds one sink, and the bounded queue between it and the main loop.

The main loop only appends to the queue, which never waits. The thread takes everything that has gathered,
hands it to the sink, flushes, and then reports the marks it met: a mark is the place in a journal up to which
everything has now been written. A durable sink that cannot be flushed is tried again; meanwhile its queue
fills, its reader stops reading, and the journal keeps the rest.

A thread that is stuck in a system call is abandoned when excguard ends: it is a daemon thread, and what it
had not written is still in the journal.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from excguard.decoding.violation import Violation
from excguard.pipeline.hit import Hit
from excguard.pipeline.sink import Level, Sink
from excguard.pipeline.suppressed import Suppressed

CAPACITY: Final = 4096
"""Hits that can wait for a sink."""

_MAX_EVENTS: Final = 2 * CAPACITY  # events have no journal to wait in: beyond this they are dropped
_RETRY: Final = 0.5  # seconds between two attempts to flush

Mark = Callable[[], None]


class SinkWorker:
    """A sink with its thread and queue.

    Attributes:
        sink: what is fed. Only the thread calls it.
        dropped: hits and events that the sink was not given: best-effort and too slow, or failing.
    """

    def __init__(self, sink: Sink, on_progress: Callable[[], None]) -> None:
        """Prepare; the thread starts with the first item.

        Args:
            sink: belongs to the worker from now on.
            on_progress: called on the thread when everything that had gathered was flushed.
        """
        self.sink = sink
        self.dropped = 0
        self._faults = 0
        self._on_progress = on_progress
        self._changed = threading.Condition()
        self._queue: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._marks: list[Mark] = []
        self._busy = False
        self._stopping = False
        self._closed_cleanly = True
        self._thread: threading.Thread | None = None

    # ---- the main loop's side ----

    @property
    def room(self) -> int:
        """How many hits a durable sink can be given now."""
        return max(CAPACITY - len(self._queue), 0)

    def hit(self, hit: Hit) -> None:
        """Queue a hit. A best-effort sink whose queue is full does not get it."""
        if self.sink.durable or len(self._queue) < CAPACITY:
            self._put(self.sink.hit, hit)
        else:
            self.dropped += 1

    def hits(self, hits: Sequence[Hit]) -> None:
        """Queue several hits, as `hit` does one."""
        if not self.sink.durable:
            room = self.room
            self.dropped += len(hits[room:])
            hits = hits[:room]
        if hits:
            self._put_all([(self.sink.hit, (hit,)) for hit in hits])

    def suppressed(self, group: Suppressed, target: str, violation: Violation) -> None:
        """Queue a count of hits. A best-effort sink whose queue is full does not get it."""
        if self.sink.durable or len(self._queue) < CAPACITY:
            self._put(self.sink.suppressed, group, target, violation)
        else:
            self.dropped += group.hits

    def event(self, level: Level, name: str, fields: Mapping[str, Any]) -> None:
        """Queue an event; from any thread."""
        if len(self._queue) < _MAX_EVENTS:
            self._put(self.sink.event, level, name, fields)
        else:
            self.dropped += 1

    def call(self, function: Callable[[], object]) -> None:
        """Have ``function`` called on the thread, after everything that was queued before."""
        self._put(function)

    def mark(self, written: Mark) -> None:
        """Have ``written`` called on the thread when everything that was queued before has been flushed."""
        self._put(self._remember, written)

    @property
    def failures(self) -> int:
        """Attempts to write or send that failed, and exceptions that came out of the sink."""
        return self.sink.failures + self._faults

    @property
    def idle(self) -> bool:
        """Whether everything that was queued has been flushed."""
        with self._changed:
            return not self._queue and not self._busy

    def stop(self) -> None:
        """Have the sink closed after what was queued; nothing more is taken. Returns at once."""
        with self._changed:
            self._stopping = True
            self._start()
            self._changed.notify_all()

    def join(self, timeout: float) -> bool:
        """Wait for the end after `stop`; False when it takes longer, or something was left unwritten."""
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive() and self._closed_cleanly
        return True

    def _put(self, function: Callable[..., object], *arguments: Any) -> None:  # noqa: ANN401 - passed on
        self._put_all([(function, arguments)])

    def _put_all(self, items: Iterable[tuple[Callable[..., object], tuple[Any, ...]]]) -> None:
        with self._changed:
            if self._stopping:
                return
            self._queue.extend(items)
            if not self._busy:
                self._start()
                self._changed.notify_all()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"excguard-{self.sink.name}", daemon=True)
            self._thread.start()

    # ---- the thread's side ----

    def _run(self) -> None:
        while self._take():
            self._flush()
        self._closed_cleanly = self._guarded(self.sink.close) is True

    def _take(self) -> bool:
        """Hand the sink what has gathered, waiting for it; False when there will be no more."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            while not self._queue:
                if self._stopping:
                    return False
                self._changed.wait()
            self._busy = True
            items = list(self._queue)
            self._queue.clear()
        for function, arguments in items:
            self._guarded(function, *arguments)
        return True

    def _remember(self, mark: Mark) -> None:
        self._marks.append(mark)

    def _flush(self) -> None:
        """Flush until nothing waits; then report the marks. A best-effort sink is given more meanwhile."""
        while not self._guarded(self.sink.flush):
            with self._changed:
                if self._stopping or (self._queue and not self.sink.durable):
                    return
                self._changed.wait(_RETRY)
        marks, self._marks = self._marks, []
        for written in marks:
            written()
        self._on_progress()

    def _guarded(self, function: Callable[..., object], *arguments: Any) -> object:  # noqa: ANN401 - passed on
        """Call the sink. An exception of it costs the item, and is counted: the sink goes on."""
        try:
            return function(*arguments)
        except Exception:  # noqa: BLE001 - a sink's fault must stay its own
            self._faults += 1
            self.dropped += 1
            return True
