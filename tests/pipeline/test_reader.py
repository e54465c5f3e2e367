"""From the journal into the sinks: whatever fails and whenever it is killed, every hit is written."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.samples import INVALID_NAME
from tests.support.streams import InlineStream, RecordingSink, Ring


@pytest.fixture
def make_ring(tmp_path: Path):
    """Makes journals of any capacity."""
    made: list[Ring] = []

    def make(capacity: int) -> Ring:
        made.append(Ring(tmp_path / str(len(made)), capacity))
        return made[-1]

    yield make
    for ring in made:
        ring.journal.close()


def test_quiet_hits_are_written_and_released_at_once(make_ring) -> None:
    ring, log = make_ring(16), RecordingSink()
    ring.append()
    stream = InlineStream(ring, log)

    assert stream.read()
    assert [hit.seq for hit in log.hits] == [0]
    assert ring.journal.pending == 0
    assert not stream.read()


def test_summed_up_hits_stay_in_the_journal_until_their_summary_is_written(make_ring) -> None:
    ring, log = make_ring(64), RecordingSink()
    for _ in range(10):
        ring.append()
    stream = InlineStream(ring, log)
    while stream.read():
        pass

    assert ([hit.seq for hit in log.hits], log.groups, ring.journal.pending) == ([0, 1], [], 10)
    assert stream.settle()
    assert ([group.hits for group in log.groups], ring.journal.pending) == ([8], 0)


def test_nothing_is_released_while_one_sink_cannot_be_written(make_ring) -> None:
    ring, good, bad = make_ring(64), RecordingSink("good"), RecordingSink("bad")
    bad.works = False
    for _ in range(10):
        ring.append()
    stream = InlineStream(ring, good, bad)

    assert not stream.all()
    assert ring.journal.pending == 10
    assert ([hit.seq for hit in good.hits], [group.hits for group in good.groups]) == ([0, 1], [8])
    assert bad.hits == bad.groups == []
    bad.works = True
    assert stream.all()
    assert ring.journal.pending == 0
    assert good.hits == bad.hits
    assert len(bad.hits) == 2
    assert [group.hits for group in bad.groups] == [8]


def test_storm_is_summed_up_before_the_ring_is_full(make_ring) -> None:
    ring, log = make_ring(16), RecordingSink()
    stream = InlineStream(ring, log)
    for _ in range(1000):
        ring.append()
        while stream.read():
            pass

    assert stream.all()
    assert ring.journal.lost == 0
    assert len(log.hits) + sum(group.hits for group in log.groups) == 1000


def test_recovered_hits_are_marked_and_not_in_this_start_s_tally(make_ring) -> None:
    ring, log = make_ring(64), RecordingSink()
    for _ in range(5):
        ring.append()
    ring.kill()
    for _ in range(3):
        ring.append()
    stream = InlineStream(ring, log, first=10)
    stream.all()

    assert [(hit.seq, hit.recovered) for hit in log.hits] == [(n, n < 5) for n in range(8)]
    assert [site.hits for site in stream.stream.tally.sites] == [3]


def test_a_summary_is_never_of_old_and_new_hits(make_ring) -> None:
    ring, log = make_ring(64), RecordingSink()
    for _ in range(5):
        ring.append()
    ring.kill()
    for _ in range(4):
        ring.append()
    InlineStream(ring, log).all()

    assert [(group.hits, group.seqs) for group in log.groups] == [(3, ((2, 4),)), (4, ())]


def test_tally_counts_sites_apart_up_to_a_bound(make_ring, monkeypatch) -> None:
    monkeypatch.setattr("excguard.pipeline.tally.MAX_SITES", 3)
    ring, log = make_ring(64), RecordingSink()
    for guard in range(INVALID_NAME >> 32, (INVALID_NAME >> 32) + 10):
        ring.append(guard=guard)
        ring.append(guard=guard)
    stream = InlineStream(ring, log)
    stream.all()

    assert sorted(site.hits for site in stream.stream.tally.sites) == [2, 2, 2, 14]


def test_fields_of_a_record_become_those_of_a_hit(make_ring) -> None:
    ring, log = make_ring(16), RecordingSink()
    ring.append(behavior=5, flags=1, pc=1, lr=2, sp=3, reply=0, pid=7, release=140400)
    ring.append(flags=2, pid=8)
    ring.append(flags=2, pid=9)
    ring.append(flags=4, pid=0)
    ring.append(pid=8)  # of a descendant, before the receiver had the program's pid
    stream = InlineStream(ring, log, first=5)
    for pid in (7, 9):
        stream.stream.processes.started(1, pid)
    stream.all()
    first, inherited, early, unknown, early_inherited = log.hits

    assert (first.behavior, first.pc, first.lr, first.sp) == ("state_identity_protected", 1, 2, 3)
    assert (first.reply, first.pid, first.release, first.inherited) == ("consume", 7, "macOS 14.4", False)
    assert first.violation.flavor_name == "INVALID_NAME"
    assert (inherited.behavior, inherited.reply, inherited.pc) == ("identity_protected", "forward", None)
    assert (inherited.inherited, early.inherited) == (True, False)
    assert early_inherited.inherited
    assert unknown.pid is None


def test_registers_that_an_older_record_left_behind_are_not_read(make_ring) -> None:
    ring, log = make_ring(16), RecordingSink()
    ring.append(flags=0, pc=1, lr=2, sp=3)
    stream = InlineStream(ring, log)
    stream.all()
    (hit,) = log.hits

    assert (hit.pc, hit.lr, hit.sp) == (None, None, None)
    assert [site.pc for site in stream.stream.tally.sites] == [0]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 12), st.integers(0, 2)),
        st.tuples(
            st.sampled_from(["read", "settle", "flush", "break", "repair", "kill"]), st.just(0), st.just(0)
        ),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS, st.sampled_from([8, 16, 64]), st.integers(0, 3), st.sampled_from([1, 3, 4096]))
def test_every_hit_is_written_whatever_happens(steps, capacity: int, first: int, room: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        ring, log = Ring(Path(directory) / "journal", capacity), RecordingSink()
        stream = InlineStream(ring, log, first=first, capacity=room)
        killed = False
        written = {}
        for step, count, site in steps:
            match step:
                case "append":
                    for _ in range(count):
                        seq, before = ring.journal.head, ring.appended
                        ring.append(guard=(INVALID_NAME >> 32) + site)
                        if ring.appended > before:
                            written[seq] = (INVALID_NAME >> 32) + site
                case "break" | "repair":
                    log.works = step == "repair"
                case "kill":
                    killed = True
                    log.forget()
                    ring.kill()
                    stream = InlineStream(ring, log, first=first, capacity=room)
                case _:
                    getattr(stream, step)()
        log.works = True
        assert stream.all()
        assert ring.journal.pending == 0
        ring.journal.close()

    whole = Counter(hit.seq for hit in log.hits)
    for seq, guard in written.items():
        assert whole[seq] or any(
            group.site.guard == guard and group.first_seq <= seq <= group.last_seq for group in log.groups
        )
    if not killed:
        assert set(whole.values()) <= {1}
        assert len(log.hits) + sum(group.hits for group in log.groups) == ring.appended
    for group in log.groups:
        assert not group.seqs or sum(last - start + 1 for start, last in group.seqs) == group.hits
