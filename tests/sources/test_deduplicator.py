"""However many sources report a hit, it counts once; what one of them alone reports counts too."""

from hypothesis import given
from hypothesis import strategies as st

from excguard.sources.deduplicator import Deduplicator
from tests.support.samples import INVALID_NAME, THREAD_SET_STATE

S = 1_000_000_000


def test_live_hit_makes_its_line_and_its_report_old_news() -> None:
    deduplicator = Deduplicator()
    deduplicator.started(7, 100 * S)
    deduplicator.live(7, INVALID_NAME, 0, 101 * S)

    assert not deduplicator.line(7, INVALID_NAME, 0, 101 * S)
    assert not deduplicator.report(7, INVALID_NAME, 0, 101 * S, 100 * S)


def test_line_beyond_the_live_hits_is_new() -> None:
    deduplicator = Deduplicator()
    deduplicator.live(7, INVALID_NAME, 0, S)  # the ONCE flag: only the first is delivered

    assert [deduplicator.line(7, INVALID_NAME, 0, S) for _ in range(3)] == [False, True, True]


def test_line_of_another_process_code_or_payload_is_new() -> None:
    deduplicator = Deduplicator()
    deduplicator.live(7, INVALID_NAME, 0, S)

    assert deduplicator.line(8, INVALID_NAME, 0, S)
    assert deduplicator.line(7, THREAD_SET_STATE, 0, S)
    assert deduplicator.line(7, INVALID_NAME, 1, S)


def test_report_alone_counts_once_also_when_it_moves() -> None:
    deduplicator = Deduplicator()
    deduplicator.started(7, 100 * S)

    assert deduplicator.report(7, INVALID_NAME, 0, 103 * S, 100 * S + 1)
    assert not deduplicator.report(7, INVALID_NAME, 0, 103 * S, 100 * S + 1)
    assert not deduplicator.line(7, INVALID_NAME, 0, 103 * S)


def test_report_of_a_code_that_was_not_reported_is_new_whatever_else_was_seen() -> None:
    deduplicator = Deduplicator()
    deduplicator.started(7, 100 * S)
    deduplicator.live(7, THREAD_SET_STATE, 0, 101 * S)

    assert deduplicator.report(7, INVALID_NAME, 0, 103 * S, 100 * S)


def test_same_pid_later_is_another_process() -> None:
    deduplicator = Deduplicator()
    deduplicator.started(7, 100 * S)
    deduplicator.live(7, INVALID_NAME, 0, 101 * S)
    deduplicator.started(7, 500 * S)

    assert not deduplicator.report(7, INVALID_NAME, 0, 101 * S, 100 * S)  # late, of the first
    assert deduplicator.report(7, INVALID_NAME, 0, 501 * S, 500 * S)
    assert not deduplicator.line(7, INVALID_NAME, 0, 501 * S)


def test_report_of_a_process_that_only_lines_described() -> None:
    deduplicator = Deduplicator()
    assert deduplicator.line(7, INVALID_NAME, 0, 101 * S)

    assert not deduplicator.report(7, INVALID_NAME, 0, 101 * S, 100 * S)
    assert deduplicator.report(7, INVALID_NAME, 0, 900 * S, 800 * S)  # the pid came round again


def test_report_without_a_start_is_of_the_newest_process() -> None:
    deduplicator = Deduplicator()
    deduplicator.started(7, 100 * S)
    deduplicator.live(7, INVALID_NAME, 0, 101 * S)

    assert not deduplicator.report(7, INVALID_NAME, None, 101 * S, None)


def test_memory_is_bounded() -> None:
    deduplicator = Deduplicator()
    for pid in range(10_000):
        for subcode in range(2):
            deduplicator.live(pid, INVALID_NAME, subcode, S)
    for subcode in range(10_000):
        deduplicator.live(1, INVALID_NAME, subcode, S)

    assert len(deduplicator._all) == len(deduplicator._newest) == 4096
    assert len(deduplicator._newest[1].kinds) == 512


def test_memory_is_bounded_when_every_process_misbehaves_in_many_places() -> None:
    deduplicator = Deduplicator()
    for pid in range(200):
        deduplicator.live(1000, INVALID_NAME, 7, pid * S)  # the oldest, and busy all the time
        for subcode in range(600):
            deduplicator.live(pid, INVALID_NAME, subcode, pid * S)

    kinds = [len(process.kinds) for process in deduplicator._all]
    assert kinds[-1] == 512
    assert 8192 < sum(kinds) <= 16_384
    assert not deduplicator.line(1000, INVALID_NAME, 7, 200 * S)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 2),
            st.sampled_from([INVALID_NAME, THREAD_SET_STATE]),
            st.integers(0, 1),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_lines_that_follow_their_live_hits_add_exactly_what_was_not_live(hits) -> None:
    """Each hit has a line; some were delivered as well, and deliveries are known before lines are judged."""
    deduplicator = Deduplicator()
    for pid, code, subcode, delivered in hits:
        if delivered:
            deduplicator.live(pid, code, subcode, S)
    new = sum(deduplicator.line(pid, code, subcode, S) for pid, code, subcode, _ in hits)

    assert new == sum(not delivered for *_, delivered in hits)
