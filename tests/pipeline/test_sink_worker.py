"""The thread of a sink takes everything in order, and nothing the sink does reaches the main loop."""

import threading

import pytest

from excguard.pipeline.sink_worker import CAPACITY, SinkWorker
from tests.support.streams import BestEffortSink, RecordingSink
from tests.support.waiting import wait_until


class Blocking(RecordingSink):
    """Waits in `hit` until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go = threading.Event()

    def hit(self, hit) -> None:
        self.entered.set()
        self.go.wait()
        super().hit(hit)


class BlockingBestEffort(Blocking):
    durable = False


@pytest.fixture
def make_worker():
    made: list[SinkWorker] = []

    def make(sink) -> SinkWorker:
        made.append(SinkWorker(sink, lambda: None))
        return made[-1]

    yield make
    for worker in made:
        if isinstance(worker.sink, Blocking):
            worker.sink.go.set()
        worker.stop()
        assert worker.join(60)


def test_everything_arrives_in_order_and_marks_follow_it(make_worker) -> None:
    sink = RecordingSink()
    worker = make_worker(sink)
    marks = []
    for number in range(500):
        worker.hit(number)
        worker.mark(lambda number=number: marks.append((number, len(sink.hits) > number)))
        worker.event("info", "event", {"number": number})
    wait_until(lambda: worker.idle)

    assert sink.hits == list(range(500))
    assert [fields["number"] for _, fields in sink.events] == list(range(500))
    assert marks == [(number, True) for number in range(500)]


def test_marks_wait_for_a_sink_that_cannot_be_written(make_worker, monkeypatch) -> None:
    monkeypatch.setattr("excguard.pipeline.sink_worker._RETRY", 0.01)
    sink = RecordingSink()
    sink.works = False
    worker = make_worker(sink)
    marks = []
    worker.hit(1)
    worker.mark(lambda: marks.append(1))
    wait_until(lambda: sink.waiting)
    assert not worker.idle
    assert marks == []
    sink.works = True
    wait_until(lambda: worker.idle)

    assert (sink.hits, marks) == ([1], [1])


def test_room_of_a_durable_sink_shrinks_and_comes_back(make_worker) -> None:
    sink = Blocking()
    worker = make_worker(sink)
    worker.hit(0)
    sink.entered.wait()
    assert worker.room == CAPACITY
    for number in range(CAPACITY):
        worker.hit(number)
    assert worker.room == 0
    assert worker.dropped == 0
    sink.go.set()
    wait_until(lambda: worker.idle)

    assert worker.room == CAPACITY
    assert len(sink.hits) == CAPACITY + 1


def test_best_effort_sink_that_is_too_slow_drops_and_counts(make_worker) -> None:
    sink = BlockingBestEffort()
    worker = make_worker(sink)
    worker.hit(0)
    sink.entered.wait()
    for number in range(1, CAPACITY + 11):
        worker.hit(number)
    assert worker.dropped == 10
    sink.go.set()
    wait_until(lambda: worker.idle)

    assert sink.hits == list(range(CAPACITY + 1))


def test_events_are_bounded_too(make_worker) -> None:
    sink = Blocking()
    worker = make_worker(sink)
    worker.hit(0)
    sink.entered.wait()
    for _ in range(3 * CAPACITY):
        worker.event("info", "event", {})
    sink.go.set()
    wait_until(lambda: worker.idle)

    assert len(sink.events) + worker.dropped == 3 * CAPACITY
    assert worker.dropped == CAPACITY


def test_exception_of_a_sink_costs_one_item_and_is_counted(make_worker) -> None:
    class Faulty(RecordingSink):
        def hit(self, hit) -> None:
            if hit == 1:
                raise ZeroDivisionError
            super().hit(hit)

    sink = Faulty()
    worker = make_worker(sink)
    for number in range(3):
        worker.hit(number)
    wait_until(lambda: worker.idle)

    assert sink.hits == [0, 2]
    assert (worker.failures, worker.dropped) == (1, 1)


def test_stop_closes_the_sink_on_its_thread_after_what_was_queued() -> None:
    closed = []

    class Closing(BestEffortSink):
        def close(self) -> bool:
            closed.append((threading.current_thread().name, list(self.hits)))
            return True

    worker = SinkWorker(Closing("page"), lambda: None)
    worker.hit(1)
    worker.stop()
    assert worker.join(60)
    worker.hit(2)

    assert closed == [("excguard-page", [1])]


def test_join_gives_up_a_sink_that_is_stuck() -> None:
    sink = Blocking()
    worker = SinkWorker(sink, lambda: None)
    worker.hit(0)
    sink.entered.wait()
    worker.stop()

    assert not worker.join(0.01)
    sink.go.set()
    assert worker.join(60)


def test_call_comes_in_its_turn(make_worker) -> None:
    sink = RecordingSink()
    worker = make_worker(sink)
    seen = []
    worker.hit(1)
    worker.call(lambda: seen.append(sink.waiting + len(sink.hits)))
    worker.hit(2)
    wait_until(lambda: worker.idle)

    assert seen == [1]
