"""Storms in the log: the first hits whole, the rest counted, and the sum always exact."""

from collections import Counter
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from excguard.pipeline.rate_limit import SiteLimiter

SECOND = 1_000_000_000
SITE = (1, 0x20000200, 0)


def record(site, seq: int, time_ns: int) -> SimpleNamespace:
    return SimpleNamespace(seq=seq, time_ns=time_ns, code=site[1] << 32, subcode=seq + 1000, release=260400)


def feed(limiter: SiteLimiter, site, seqs, time_ns=0, *, recovered=False) -> list[int]:
    """The sequence numbers of ``seqs`` that pass."""
    return [seq for seq in seqs if limiter.admit(site, record(site, seq, time_ns), recovered=recovered)]


def test_the_first_of_a_site_pass_and_the_rest_is_one_group() -> None:
    limiter = SiteLimiter(3, 60)

    assert feed(limiter, SITE, range(10)) == [0, 1, 2]
    (group,) = limiter.take()
    assert group.site == SITE
    assert (group.hits, group.first_seq, group.last_seq) == (7, 3, 9)
    assert (group.code, group.subcode) == (SITE[1] << 32, 1003)
    assert group.release == 260400
    assert limiter.take() == []


def test_sites_differ_in_target_flavor_or_pc() -> None:
    limiter = SiteLimiter(1, 60)
    sites = [SITE, (2, *SITE[1:]), (1, 0x20000400, 0), (1, SITE[1], 0x1000)]

    for site in sites:
        assert feed(limiter, site, range(3)) == [0]
    assert {group.site: group.hits for group in limiter.take()} == dict.fromkeys(sites, 2)


def test_a_new_window_lets_hits_pass_again() -> None:
    limiter = SiteLimiter(1, 60)

    assert feed(limiter, SITE, [1, 2], 0) == [1]
    assert feed(limiter, SITE, [3], 60 * SECOND - 1) == []
    assert feed(limiter, SITE, [4, 5], 60 * SECOND) == [4]
    (group,) = limiter.take()
    assert group.hits == 3


def test_a_clock_set_back_starts_a_new_window() -> None:
    limiter = SiteLimiter(1, 60)

    assert feed(limiter, SITE, [1], 1000 * SECOND) == [1]
    assert feed(limiter, SITE, [2, 3], 10 * SECOND) == [2]


def test_first_of_zero_logs_summaries_alone() -> None:
    limiter = SiteLimiter(0, 60)

    assert feed(limiter, SITE, range(5)) == []
    assert limiter.take()[0].hits == 5


def test_recovered_hits_keep_every_sequence_number() -> None:
    limiter = SiteLimiter(1, 60)
    other = (2, 5, 0)
    for seq in range(10):
        feed(limiter, other if seq in (4, 8) else SITE, [seq], recovered=True)

    groups = {group.site: group for group in limiter.take()}
    assert groups[SITE].seqs == ((1, 3), (5, 7), (9, 9))
    assert groups[other].seqs == ((8, 8),)
    assert groups[SITE].hits == 7


def test_sites_without_end_are_lumped_together_and_still_counted() -> None:
    limiter = SiteLimiter(1, 60, sites_per_target=4)
    passed = sum(len(feed(limiter, (1, flavor, 0), [flavor, flavor])) for flavor in range(1000))

    groups = limiter.take()
    assert passed == 5  # the four sites, and the one that the others share
    assert sum(group.hits for group in groups) == 2000 - passed
    assert [group.hits for group in groups if group.site is None] == [2000 - 8 - 1]
    assert feed(limiter, (2, 1, 0), [1]) == [1]  # another target has its own


def test_sites_are_forgotten_with_their_window() -> None:
    limiter = SiteLimiter(1, 60, sites_per_target=4)
    for flavor in range(1000):
        feed(limiter, (1, flavor, 0), [flavor], flavor * 61 * SECOND)
        limiter.take()

    assert len(limiter._states) <= 2


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 40), st.integers(0, 2), st.integers(0, 200 * SECOND)),
        max_size=300,
    ),
    st.integers(0, 4),
    st.sets(st.integers(0, 300)),
)
def test_every_hit_is_either_passed_or_counted_once(hits, first: int, takes: set[int]) -> None:
    limiter = SiteLimiter(first, 60, sites_per_target=8)
    counted: Counter[int] = Counter()
    for seq, (target, flavor, pc, time_ns) in enumerate(hits):
        if limiter.admit((target, flavor, pc), record((target, flavor, pc), seq, time_ns)):
            counted[target] += 1
        if seq in takes:
            for group in limiter.take():
                counted[group.target_id] += group.hits
    for group in limiter.take():
        counted[group.target_id] += group.hits

    expected = Counter(target for target, *_ in hits)
    assert counted == expected
    assert sum(limiter.suppressed.values()) <= len(hits)
