"""Several sinks on one journal: each has its own place, and a stuck one stops itself alone."""

from pathlib import Path

import pytest

from tests.support.samples import INVALID_NAME
from tests.support.streams import BestEffortSink, InlineStream, RecordingSink, Ring


@pytest.fixture
def ring(tmp_path: Path):
    made = Ring(tmp_path / "journal", 64)
    yield made
    made.journal.close()


def seqs(sink: RecordingSink) -> list[int]:
    return [hit.seq for hit in sink.hits]


def test_stuck_sink_does_not_hold_up_the_others(ring: Ring) -> None:
    good, stuck, page = RecordingSink("good"), RecordingSink("stuck"), BestEffortSink("page")
    stuck.works = False
    stream = InlineStream(ring, good, stuck, page, first=100, capacity=3)
    for _ in range(12):
        ring.append()
        stream.all()

    assert seqs(good) == seqs(page) == list(range(12))
    assert seqs(stuck) == []
    assert ring.journal.pending == 12
    stuck.works = True
    assert stream.all()
    assert seqs(stuck) == list(range(12))
    assert ring.journal.pending == 0


def test_best_effort_sink_keeps_nothing_in_the_journal(ring: Ring) -> None:
    page = BestEffortSink("page")
    page.works = False
    stream = InlineStream(ring, page)
    for _ in range(200):
        ring.append()
        stream.read()

    assert ring.journal.pending == 0
    assert ring.journal.lost == 0


def test_stuck_sink_gives_up_its_place_before_the_journal_is_full(ring: Ring) -> None:
    """The other one gets every hit; the stuck one says how many it has not, once it can be written."""
    good, stuck = RecordingSink("good"), RecordingSink("stuck")
    stuck.works = False
    stream = InlineStream(ring, good, stuck, first=10_000, capacity=8)
    for _ in range(300):
        ring.append()
        stream.all()

    assert ring.journal.lost == 0
    assert seqs(good) == list(range(300))
    stuck.works = True
    for _ in range(3):
        ring.append()
        assert stream.all()
    ((name, fields),) = stuck.events
    missing = set(range(303)) - set(seqs(stuck))
    assert name == "journal_records_lost"
    assert (fields["count"], fields["total"]) == (len(missing), len(missing))
    assert stream.workers[1].dropped == len(missing)
    assert seqs(stuck) == sorted(seqs(stuck))
    assert seqs(good) == list(range(303))


def test_sink_that_is_alone_keeps_its_place(ring: Ring) -> None:
    stuck = RecordingSink()
    stuck.works = False
    stream = InlineStream(ring, stuck, first=10_000, capacity=8)
    for _ in range(100):
        ring.append()
        stream.all()

    assert ring.journal.lost == 100 - 64
    stuck.works = True
    assert stream.all()
    assert seqs(stuck) == list(range(64))


def test_every_record_is_observed_once_however_far_the_sinks_are(ring: Ring) -> None:
    stuck = RecordingSink()
    stuck.works = False
    stream = InlineStream(ring, stuck, capacity=1)
    observed = []
    stream.stream.observers.append(lambda record: observed.append(record.seq))
    for _ in range(40):
        ring.append()
    stream.stream.observe()

    assert observed == list(range(40))
    stream.all()
    assert observed == list(range(40))


def test_processes_are_remembered_for_as_long_as_their_hits_are_unread(ring: Ring) -> None:
    log = RecordingSink()
    log.works = False
    stream = InlineStream(ring, log, first=100, capacity=4)
    processes = stream.stream.processes
    processes.started(1, 100)
    for _ in range(6):
        ring.append(flags=2)  # inherited, as far as the receiver could decide
    processes.ended(1, 100, ring.journal.head)
    stream.all()
    assert processes.own(1, 100)  # two of its hits are unread
    log.works = True
    stream.all()

    assert [hit.inherited for hit in log.hits] == [False] * 6
    assert not processes.own(1, 100)


def test_pid_that_was_given_out_again_is_the_targets_until_both_have_ended(ring: Ring) -> None:
    stream = InlineStream(ring, RecordingSink())
    processes = stream.stream.processes
    processes.started(1, 100)
    processes.ended(1, 100, 0)
    processes.started(1, 100)
    stream.read()

    assert processes.own(1, 100)
    assert not processes.own(2, 100)


def test_limits_change_for_all(ring: Ring) -> None:
    log, page = RecordingSink(), BestEffortSink("page")
    stream = InlineStream(ring, log, page, first=1)
    stream.stream.limit(type(stream.stream._log)(first=3))
    for _ in range(5):
        ring.append(guard=INVALID_NAME >> 32)
    stream.all()

    assert seqs(log) == seqs(page) == [0, 1, 2]
    assert [group.hits for group in log.groups] == [group.hits for group in page.groups] == [2]
