"""From the journal into the logs: whatever fails and whenever it is killed, every hit is told."""

from collections import Counter
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from excguard.mach.host import Host
from excguard.pipeline.drain import Drain
from excguard.pipeline.rate_limit import SiteLimiter
from tests.support.samples import INVALID_NAME

HOST = Host("26.4", "25E246", "simulated", "arm64", developer_mode=True, guard_behavior=0x99)


def record(seq: int, *, target_id: int = 1, guard: int = INVALID_NAME >> 32, **changes) -> SimpleNamespace:
    """A record as the journal has it."""
    fields = {
        "seq": seq,
        "time_ns": 10**18 + seq,
        "code": guard << 32 | 0x2703,
        "subcode": seq,
        "thread_id": 5,
        "pc": 0,
        "lr": 0,
        "sp": 0,
        "pid": 100,
        "target_id": target_id,
        "behavior": 4,
        "reply": 5,
        "release": 260400,
        "flags": 0,
    }
    return SimpleNamespace(**{**fields, **changes})


class Ring:
    """A journal in memory: a batch ends where the ring does, and what does not fit is lost."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.recovered_until = 0
        self.tail = 0
        self.records: list[SimpleNamespace] = []
        self.lost = 0

    @property
    def pending(self) -> int:
        return len(self.records) - self.tail

    def append(self, **changes) -> None:
        if self.pending == self.capacity:
            self.lost += 1
        else:
            self.records.append(record(len(self.records), **changes))

    def peek(self, most: int) -> tuple[list[SimpleNamespace], int]:
        count = min(self.pending, most, self.capacity - self.tail % self.capacity)
        return self.records[self.tail : self.tail + count], count

    def advance(self, count: int) -> None:
        assert 0 <= count <= self.pending
        self.tail += count


class Log:
    """A log that can refuse to be written."""

    def __init__(self) -> None:
        self.works = True
        self.hits = []
        self.groups = []
        self._gathered = []

    def hit(self, hit) -> None:
        self._gathered.append((self.hits, hit))

    def suppressed(self, group, target: str, _violation) -> None:
        assert target == f"target-{group.target_id}"
        self._gathered.append((self.groups, group))

    def flush(self) -> bool:
        if self.works:
            for told, what in self._gathered:
                told.append(what)
            self._gathered.clear()
        return self.works or not self._gathered

    def kill(self) -> None:
        """What has not been written dies with the process."""
        self._gathered.clear()


NAMES = SimpleNamespace(name=lambda number: f"target-{number}")


def drain(ring: Ring, *logs: Log, first: int = 2) -> Drain:
    return Drain(ring, logs, SiteLimiter(first, 60), NAMES, HOST)


def test_quiet_hits_are_written_and_given_back_at_once() -> None:
    ring, log = Ring(16), Log()
    ring.append()
    draining = drain(ring, log)

    assert draining.batch()
    assert [hit.seq for hit in log.hits] == [0]
    assert ring.pending == 0
    assert not draining.batch()


def test_summed_up_hits_stay_in_the_journal_until_their_summary_is_written() -> None:
    ring, log = Ring(64), Log()
    for _ in range(10):
        ring.append()
    draining = drain(ring, log)
    while draining.batch():
        pass

    assert ([hit.seq for hit in log.hits], log.groups, ring.pending) == ([0, 1], [], 10)
    assert draining.settle()
    assert ([group.hits for group in log.groups], ring.pending) == ([8], 0)


def test_nothing_is_given_back_while_one_log_cannot_be_written() -> None:
    ring, good, bad = Ring(64), Log(), Log()
    bad.works = False
    for _ in range(10):
        ring.append()
    draining = drain(ring, good, bad)

    assert not draining.batch()
    assert not draining.settle()
    assert not draining.batch()
    assert ring.pending == 10
    bad.works = True
    assert draining.all()
    assert ring.pending == 0
    assert good.hits == bad.hits
    assert len(bad.hits) == 2
    assert [group.hits for group in bad.groups] == [8]


def test_storm_is_summed_up_before_the_ring_is_full() -> None:
    ring, log = Ring(16), Log()
    draining = drain(ring, log)
    for _ in range(1000):
        ring.append()
        while draining.batch():
            pass

    assert draining.all()
    assert ring.lost == 0
    assert len(log.hits) + sum(group.hits for group in log.groups) == 1000


def test_recovered_hits_are_marked_and_not_in_this_start_s_tally() -> None:
    ring, log = Ring(64), Log()
    for _ in range(5):
        ring.append()
    ring.recovered_until = 5
    for _ in range(3):
        ring.append()
    draining = drain(ring, log, first=10)
    draining.all()

    assert [(hit.seq, hit.recovered) for hit in log.hits] == [(n, n < 5) for n in range(8)]
    assert [site.hits for site in draining.tally.values()] == [3]


def test_a_summary_is_never_of_old_and_new_hits() -> None:
    ring, log = Ring(64), Log()
    for _ in range(5):
        ring.append()
    ring.recovered_until = 5
    for _ in range(4):
        ring.append()
    drain(ring, log).all()

    assert [(group.hits, group.seqs) for group in log.groups] == [(3, ((2, 4),)), (4, ())]


def test_tally_tells_sites_apart_up_to_a_bound(monkeypatch) -> None:
    monkeypatch.setattr("excguard.pipeline.drain._MOST_SITES", 3)
    ring, log = Ring(64), Log()
    for guard in range(INVALID_NAME >> 32, (INVALID_NAME >> 32) + 10):
        ring.append(guard=guard)
        ring.append(guard=guard)
    draining = drain(ring, log)
    draining.all()

    assert sorted(site.hits for site in draining.tally.values()) == [2, 2, 2, 14]


def test_fields_of_a_record_become_those_of_a_hit() -> None:
    ring, log = Ring(16), Log()
    ring.append(behavior=5, flags=1, pc=1, lr=2, sp=3, reply=0, pid=7, release=140400)
    ring.append(flags=2, pid=8)
    ring.append(flags=2, pid=9)
    ring.append(flags=4, pid=0)
    ring.append(pid=8)  # of a descendant, before the receiver had the program's pid
    draining = drain(ring, log, first=5)
    draining.own_pids = {1: {7, 9}}
    draining.all()
    first, inherited, early, unknown, early_inherited = log.hits

    assert (first.behavior, first.pc, first.lr, first.sp) == ("state_identity_protected", 1, 2, 3)
    assert (first.reply, first.pid, first.release, first.inherited) == ("consume", 7, "macOS 14.4", False)
    assert first.violation.flavor_name == "INVALID_NAME"
    assert (inherited.behavior, inherited.reply, inherited.pc) == ("identity_protected", "forward", None)
    assert (inherited.inherited, early.inherited) == (True, False)
    assert early_inherited.inherited
    assert unknown.pid is None


def test_what_an_older_record_left_behind_is_no_register() -> None:
    ring, log = Ring(16), Log()
    ring.append(flags=0, pc=1, lr=2, sp=3)
    draining = drain(ring, log)
    draining.all()
    (hit,) = log.hits

    assert (hit.pc, hit.lr, hit.sp) == (None, None, None)
    assert [site.pc for site in draining.tally.values()] == [0]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 12), st.integers(0, 2)),
        st.tuples(
            st.sampled_from(["batch", "settle", "flush", "break", "mend", "kill"]), st.just(0), st.just(0)
        ),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS, st.sampled_from([8, 16, 64]), st.integers(0, 3))
def test_every_hit_is_told_whatever_happens(steps, capacity: int, first: int) -> None:
    ring, log = Ring(capacity), Log()
    draining = drain(ring, log, first=first)
    killed = False
    for step, count, site in steps:
        match step:
            case "append":
                for _ in range(count):
                    ring.append(guard=(INVALID_NAME >> 32) + site)
            case "break" | "mend":
                log.works = step == "mend"
            case "kill":
                killed = True
                log.kill()
                ring.recovered_until = len(ring.records)
                draining = drain(ring, log, first=first)
            case _:
                getattr(draining, step)()
    log.works = True
    assert draining.all()
    assert ring.pending == 0

    whole = Counter(hit.seq for hit in log.hits)
    for told in ring.records:
        assert whole[told.seq] or any(
            group.site.guard == told.code >> 32 and group.first_seq <= told.seq <= group.last_seq
            for group in log.groups
        )
    if not killed:
        assert set(whole.values()) <= {1}
        assert len(log.hits) + sum(group.hits for group in log.groups) == len(ring.records)
    for group in log.groups:
        assert not group.seqs or sum(last - start + 1 for start, last in group.seqs) == group.hits
