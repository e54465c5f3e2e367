"""Hits that are counted a batch at a time are counted as they are one by one."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excguard.native import ffi, lib
from excguard.pipeline import batch as module
from excguard.pipeline.batch import Batch
from excguard.pipeline.rate_limit import SiteLimiter
from excguard.pipeline.record import site_of
from tests.support.samples import INVALID_NAME
from tests.support.streams import BestEffortSink, InlineStream, RecordingSink, Ring

SECOND = 1_000_000_000
HITS = st.lists(
    st.tuples(
        st.integers(1, 3),  # target
        st.integers(0, 2),  # flavor
        st.sampled_from([0, 0, 0, SECOND, 61 * SECOND, -SECOND]),  # time that passes
        st.sampled_from([0, lib.EXCGUARD_RECORD_REGISTERS]),
        st.integers(0, 1),  # pc
    ),
    min_size=1,
    max_size=60,
)


def records(hits) -> tuple:
    made = ffi.new("struct excguard_record[]", len(hits))
    now = 10**18
    for seq, (target, flavor, passed, flags, pc) in enumerate(hits):
        now += passed
        record = made[seq]
        record.seq, record.time_ns, record.target_id, record.pid = seq, now, target, 7
        record.code, record.subcode, record.flags = INVALID_NAME + (flavor << 32), seq, flags
        record.pc, record.release = pc, 260400
    return made, len(hits)


def test_words_of_a_record() -> None:
    for name, word in (("time_ns", module._TIME), ("code", module._CODE), ("pc", module._PC)):
        assert ffi.offsetof("struct excguard_record", name) == word * 8
    assert ffi.offsetof("struct excguard_record", "target_id") == module._PROCESS * 8 + 4
    assert ffi.offsetof("struct excguard_record", "flags") == module._TAG * 8 + module._FLAGS // 8
    assert ffi.sizeof("struct excguard_record") == lib.EXCGUARD_RECORD_SIZE


@settings(deadline=None)
@given(st.lists(HITS, min_size=1, max_size=4), st.integers(0, 3))
def test_batches_are_counted_as_single_hits_are(batches, first: int) -> None:
    by_batch, single = SiteLimiter(first, 60), SiteLimiter(first, 60)
    admitted: tuple[list, list] = ([], [])
    for hits in batches:
        made, count = records(hits)
        if not by_batch.count(Batch(made, count)):
            admitted[0].extend(
                made[index].seq for index in range(count) if by_batch.admit(site_of(made[index]), made[index])
            )
        admitted[1].extend(
            made[index].seq for index in range(count) if single.admit(site_of(made[index]), made[index])
        )
        assert by_batch.suppressed == single.suppressed
    assert admitted[0] == admitted[1]
    assert sorted(by_batch.take()) == sorted(single.take())


@pytest.mark.parametrize("each", [False, True])
def test_storm_is_counted_in_log_page_tally_and_by_observers(tmp_path: Path, *, each: bool) -> None:
    ring, log, page = Ring(tmp_path / "journal", 4096), RecordingSink(), BestEffortSink("page")
    stream = InlineStream(ring, log, page)
    seen = []
    observers = stream.stream.observers if each else stream.stream.kind_observers
    observers.append(lambda record: seen.append(record.seq))
    for _ in range(20):
        ring.append()
    stream.read()
    for _ in range(1000):
        ring.append(guard=INVALID_NAME >> 32)
    assert stream.all()
    ring.journal.close()

    for sink in (log, page):
        assert len(sink.hits) == 2
        assert sum(group.hits for group in sink.groups) == 1018
    assert [site.hits for site in stream.stream.tally.sites] == [1020]
    assert seen[-1] == 1019
    assert (len(seen) == 1020) == each
