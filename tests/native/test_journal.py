from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from excguard.native import ffi, lib
from tests.support.journal import RELEASE, Journal, RefusedError
from tests.support.samples import INCORRECT_GUARD, INVALID_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER, HITS, RECORD = 4096, lib.EXCGUARD_HIT_SLOTS * 64, 128

UNKNOWN = 7 << 61


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


class TestRecords:
    def test_are_read_back_whole(self, path: Path) -> None:
        written = {
            "time_ns": 1_700_000_000_123_456_789,
            "thread_id": 2**63 + 5,
            "subcode": 2**64 - 2,
            "pid": 4242,
            "reply": 0,
            "behavior": 5,
            "state_flavor": 6,
            "state_count": 68,
            "pc": 2**64 - 1,
            "lr": 2,
            "sp": 3,
        }
        flags = lib.EXCGUARD_RECORD_STATE | lib.EXCGUARD_RECORD_REGISTERS | lib.EXCGUARD_RECORD_INHERITED
        with Journal(path) as journal:
            assert journal.append(INCORRECT_GUARD | 0x1203, 9, flags=flags, **written)
            (record,) = journal.peek()

            assert {name: getattr(record, name) for name in written} == written
            assert (record.seq, record.code, record.target_id) == (0, INCORRECT_GUARD | 0x1203, 9)
            assert record.flags == flags | lib.EXCGUARD_RECORD_KNOWN
            assert record.severity == lib.EXCGUARD_SEVERITY_FATAL
            assert record.release == RELEASE

    def test_of_an_unknown_code_are_marked(self, path: Path) -> None:
        with Journal(path) as journal:
            journal.append(UNKNOWN)
            (record,) = journal.peek()
            assert not record.flags & lib.EXCGUARD_RECORD_KNOWN
            assert record.severity == lib.EXCGUARD_SEVERITY_UNKNOWN

    def test_come_in_order_over_many_laps(self, path: Path) -> None:
        with Journal(path) as journal:
            seen: list[int] = []
            for lap in range(50):
                for _ in range(lap % 8 + 1):
                    assert journal.append()
                seen += journal.drain()
            assert seen == list(range(len(seen)))

    def test_a_batch_ends_where_the_ring_does(self, path: Path) -> None:
        with Journal(path) as journal:
            for _ in range(6):
                journal.append()
            journal.drain()
            for _ in range(5):
                journal.append()
            assert [len(journal.peek()), len(journal.peek(1))] == [2, 1]
            journal.advance(2)
            assert len(journal.peek()) == 3

    def test_more_cannot_be_given_back_than_there_are(self, path: Path) -> None:
        with Journal(path) as journal:
            journal.append()
            journal.advance(100)
            assert journal.pending == 0
            journal.append()
            assert [record.seq for record in journal.peek()] == [1]


class TestFullRing:
    def test_gives_up_the_newest_and_counts_exactly(self, path: Path) -> None:
        with Journal(path) as journal:
            taken = [journal.append() for _ in range(20)]
            assert taken == [True] * 8 + [False] * 12
            assert journal.lost == 12
            assert journal.hits() == {(1, 1, 0x200): (8, 12)}
            assert journal.drain() == list(range(8))
            assert journal.append()
            assert [record.seq for record in journal.peek()] == [8]
            assert journal.lost == 12

    def test_stays_exact_over_a_restart(self, path: Path) -> None:
        with Journal(path) as journal:
            for _ in range(20):
                journal.append()
        with Journal(path) as journal:
            assert (journal.lost, journal.pending, journal.recovered_until) == (12, 8, 8)
            assert not journal.append()
            assert journal.lost == 13


class TestCounters:
    def test_are_kept_apart_by_target_type_and_flavor(self, path: Path) -> None:
        with Journal(path, 1024) as journal:
            for times, (code, target) in enumerate(
                [
                    (INVALID_NAME, 1),
                    (INVALID_NAME, 2),
                    (INCORRECT_GUARD, 1),
                    (UNKNOWN, 1),
                    (2 << 61 | 0x200 << 32, 1),
                ],
                1,
            ):
                for port in range(times):
                    journal.append(code | port, target)
            assert journal.hits() == {
                (1, 1, 0x200): (1, 0),
                (2, 1, 0x200): (2, 0),
                (1, 1, 0x10): (3, 0),
                (1, 7, 0): (4, 0),
                (1, 2, 0x200): (5, 0),
            }

    def test_unknown_flavors_share_one_when_they_become_too_many(self, path: Path) -> None:
        with Journal(path, 4096) as journal:
            for flavor in range(0x2000000, 0x2000000 + 3000):
                assert journal.append(1 << 61 | flavor << 32)
            for _ in range(3):
                journal.append(INVALID_NAME)  # a known one still gets its own
            hits = journal.hits()
            assert len(hits) <= lib.EXCGUARD_HIT_SLOTS // 4 + 2
            assert hits[1, 1, 0x200] == (3, 0)
            assert hits[1, 1, lib.EXCGUARD_FLAVOR_OTHER][0] == 3003 - sum(
                recorded
                for (_, _, flavor), (recorded, _) in hits.items()
                if flavor != lib.EXCGUARD_FLAVOR_OTHER
            )

    def test_never_run_out(self, path: Path) -> None:
        with Journal(path, 8192) as journal:
            for target in range(1, 7001):
                assert journal.append(INVALID_NAME, target)
            hits = journal.hits()
            assert sum(recorded for recorded, _ in hits.values()) == 7000
            assert hits[0, 0, lib.EXCGUARD_FLAVOR_OTHER][0] > 0
        with Journal(path, 8192) as journal:
            assert journal.hits() == hits

    def test_say_what_records_end_in_whatever_the_file_says(self, path: Path) -> None:
        with Journal(path) as journal:
            journal.append()
        content = bytearray(path.read_bytes())
        at = used_counter(content) + 48  # record_end
        content[at : at + 16] = bytes(16)
        path.write_bytes(content)
        with Journal(path) as journal:
            journal.append()
            before, after = journal.peek()
            fields = ("hit_slot", "flags", "severity", "release")
            assert [getattr(after, name) for name in fields] == [getattr(before, name) for name in fields]

    def test_begin_anew_under_another_release(self, path: Path) -> None:
        with Journal(path) as journal:
            journal.append(1 << 61 | 0x20000 << 32)
        with Journal(path, release=101401) as journal:
            assert journal.hits() == {}
            (record,) = journal.peek()  # the record stays, and says what it was decided for
            assert record.release == RELEASE
            journal.append(1 << 61 | 0x20000 << 32)
            assert journal.hits() == {(1, 1, 0x20000): (1, 0)}
            assert [one.release for one in journal.peek()] == [RELEASE, 101401]
        with Journal(path, release=101401) as journal:
            assert journal.hits() == {(1, 1, 0x20000): (1, 0)}

    def test_of_refusals_and_reply_times_outlive_the_process(self, path: Path) -> None:
        with Journal(path) as journal:
            for _ in range(3):
                lib.excguard_journal_reject(journal.handle, lib.EXCGUARD_UNKNOWN_PORT)
            lib.excguard_journal_reject(journal.handle, lib.EXCGUARD_VERDICT_COUNT)  # nothing happens
            for nanoseconds in (0, 1000, 1001, 10**12):
                lib.excguard_journal_reply_time(journal.handle, nanoseconds)
        with Journal(path) as journal:
            rejected = ffi.new("uint64_t[]", lib.EXCGUARD_VERDICT_COUNT)
            lib.excguard_journal_rejected(journal.handle, rejected)
            assert {index: count for index, count in enumerate(rejected) if count} == {
                lib.EXCGUARD_UNKNOWN_PORT: 3
            }
            replies = ffi.new("struct excguard_reply_histogram *")
            lib.excguard_journal_replies(journal.handle, replies)
            assert list(replies.buckets) == [2, 1, *[0] * 14, 1]
            assert replies.sum_ns == 2001 + 10**12

    def test_bounds_rise(self) -> None:
        bounds = list(lib.excguard_reply_bounds_ns)
        assert bounds == sorted(set(bounds))


class TestOpening:
    def test_makes_a_private_file_whose_blocks_exist(self, path: Path) -> None:
        with Journal(path, 1024) as journal:
            assert lib.excguard_journal_created(journal.handle)
            assert lib.excguard_journal_capacity(journal.handle) == 1024
        status = path.stat()
        assert status.st_mode & 0o777 == 0o600
        assert status.st_size == HEADER + HITS + 1024 * RECORD
        assert status.st_blocks * 512 >= status.st_size

    def test_takes_what_an_existing_file_has(self, path: Path) -> None:
        Journal(path, 64).close()
        with Journal(path, 0) as journal:
            assert lib.excguard_journal_capacity(journal.handle) == 64
            assert not lib.excguard_journal_created(journal.handle)

    def test_fills_the_holes_of_a_sparse_copy(self, path: Path, tmp_path: Path) -> None:
        Journal(path, 1024).close()
        sparse = tmp_path / "sparse"
        with path.open("rb") as source, sparse.open("wb") as target:
            target.write(source.read(HEADER))
            target.truncate(path.stat().st_size)
        if sparse.stat().st_blocks * 512 >= path.stat().st_size:
            pytest.skip("this file system makes no holes")
        Journal(sparse, 1024).close()
        assert sparse.stat().st_blocks * 512 >= path.stat().st_size

    def test_is_refused_while_another_has_it(self, path: Path) -> None:
        with Journal(path):
            with pytest.raises(RefusedError, match=r"another excguard .* stop that one") as refusal:
                Journal(path)
            assert refusal.value.status == lib.EXCGUARD_JOURNAL_LOCKED
        Journal(path).close()

    def test_does_not_lend_its_lock_to_children(self, path: Path) -> None:
        with Journal(path):
            command = [sys.executable, "-c", "print('here', flush=True); input()"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            child = subprocess.Popen(command, close_fds=False, **pipes)
            assert child.stdout is not None
            assert child.stdout.readline()  # it runs: what exec closes has been closed
        try:
            Journal(path).close()
        finally:
            child.communicate(b"\n")

    @pytest.mark.parametrize("capacity", [1, 4, 7, 9, 1000, 1 << 25, 2**32 - 1])
    def test_refuses_an_impossible_capacity(self, path: Path, capacity: int) -> None:
        with pytest.raises(RefusedError, match="power of two from 8 to 16777216") as refusal:
            Journal(path, capacity)
        assert refusal.value.status == lib.EXCGUARD_JOURNAL_CAPACITY
        assert not path.exists()

    def test_refuses_another_capacity(self, path: Path) -> None:
        Journal(path, 8).close()
        with pytest.raises(RefusedError, match="holds 8 records, not 16; set that capacity") as refusal:
            Journal(path, 16)
        assert refusal.value.status == lib.EXCGUARD_JOURNAL_CAPACITY

    @pytest.mark.parametrize(
        "content",
        [b"x", b"\0" * 5000 + b"x", b"#!/bin/sh\n" * 1000, bytes(8) + b"\1" + bytes(9000)],
    )
    def test_leaves_a_foreign_file_alone(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(RefusedError, match="not an excguard journal") as refusal:
            Journal(path)
        assert refusal.value.status == lib.EXCGUARD_JOURNAL_FOREIGN
        assert path.read_bytes() == content

    def test_makes_an_unfinished_file_again(self, path: Path) -> None:
        path.write_bytes(bytes(70000))  # as a kill leaves it while the file is being made
        with Journal(path, 8) as journal:
            assert lib.excguard_journal_created(journal.handle)
            assert journal.append()

    def test_refuses_what_is_not_a_file(self, tmp_path: Path) -> None:
        fifo, link = tmp_path / "fifo", tmp_path / "link"
        os.mkfifo(fifo)
        link.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(RefusedError, match="not a regular file"):
            Journal(fifo)
        for path in (tmp_path, link, tmp_path / "missing" / "journal"):
            with pytest.raises(RefusedError, match="cannot open the journal") as refusal:
                Journal(path)
            assert refusal.value.status == lib.EXCGUARD_JOURNAL_ERROR
        assert not (tmp_path / "elsewhere").exists()

    def test_reports_a_full_disk(self, path: Path) -> None:
        # A limit on file sizes takes the place of a full disk: the same write fails. In a process of its own.
        done = subprocess.run(
            [sys.executable, "-c", _NO_ROOM, path], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "no space for the journal" in done.stdout
        assert path.stat().st_size == 0  # what it had taken it gave back
        Journal(path, 1024).close()


_NO_ROOM = f"""
import resource, signal, sys
from excguard.native import ffi, lib
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
handle, error = ffi.new("struct excguard_journal **"), ffi.new("char[300]")
status = lib.excguard_journal_open(sys.argv[1].encode(), 1024, {RELEASE}, handle, error, 300)
print(ffi.string(error).decode())
sys.exit(status != lib.EXCGUARD_JOURNAL_NO_SPACE)
"""


def word(offset: int, value: int, form: str = "<Q") -> Callable[[bytearray], None]:
    return lambda content: struct.pack_into(form, content, offset, value)


def used_counter(content: bytes) -> int:
    """Where the counter of (target 1, INVALID_NAME) lies."""
    return content.index(struct.pack("<Q", 1 << 32 | INVALID_NAME >> 32), HEADER, HEADER + HITS)


def counter_word(at: int, value: int) -> Callable[[bytearray], None]:
    return lambda content: struct.pack_into("<Q", content, used_counter(content) + at, value)


HEAD, TAIL, SINCE = 64, 128, 32
RING = HEADER + HITS

DAMAGE: dict[str, tuple[Callable[[bytearray], object], str]] = {
    "version": (word(8, 1, "<I"), "journal of version 1"),
    "header size": (word(12, 99, "<I"), "header is damaged"),
    "record size": (word(16, 64, "<I"), "header is damaged"),
    "capacity zero": (word(20, 0, "<I"), "header is damaged"),
    "hit slots": (word(24, 2, "<I"), "header is damaged"),
    "shorter": (lambda content: content.__delitem__(slice(-1, None)), "bytes long and should be"),
    "cut to the header": (
        lambda content: content.__delitem__(slice(HEADER, None)),
        "bytes long and should be",
    ),
    "longer": (lambda content: content.extend(b"\0"), "bytes long and should be"),
    "tail beyond head": (word(TAIL, 6), "sequence numbers"),
    "head beyond reason": (word(HEAD, 2**63), "sequence numbers"),
    "head one more": (word(HEAD, 6), "a record is in the wrong place"),
    "head one less": (word(HEAD, 4), "are inconsistent"),
    "counters since the future": (word(SINCE, 2**40), "counters start after its records"),
    "seq of a record": (word(RING + 2 * RECORD, 77), "a record is in the wrong place"),
    "no target": (word(RING + 2 * RECORD + 28, 0, "<I"), "a record is in the wrong place"),
    "slot of the newest": (word(RING + 4 * RECORD + 56, 0xFFFF, "<H"), "newest record"),
    "other slot of the newest": (word(RING + 4 * RECORD + 56, 2000, "<H"), "newest record"),
    "count of the newest": (word(RING + 4 * RECORD + 48, 9, "<I"), "newest record and its counter"),
    "counter too high": (counter_word(8, 9), "newest record and its counter"),
    "counter's key": (counter_word(0, 0), "are inconsistent"),
    "counter's fields": (counter_word(32, 5), "a hit counter is inconsistent"),
    "count without a key": (word(HEADER + 64 * 100 + 8, 5), "an unused hit counter is not zero"),
    "zeros all over": (
        lambda content: content.__setitem__(slice(HEADER, None), bytes(HITS + 8 * RECORD)),
        "damaged",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_reported_and_the_file_is_unchanged(path: Path, name: str) -> None:
    damage, message = DAMAGE[name]
    with Journal(path) as journal:
        for _ in range(5):
            journal.append()
        journal.advance(2)
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)

    with pytest.raises(RefusedError, match=message) as refusal:
        Journal(path)

    assert refusal.value.status in (lib.EXCGUARD_JOURNAL_CORRUPT, lib.EXCGUARD_JOURNAL_FOREIGN)
    assert str(path) in str(refusal.value)
    assert "move the file away" in str(refusal.value)
    assert path.read_bytes() == content
    path.unlink()
    Journal(path).close()


@settings(max_examples=40, stateful_step_count=60, deadline=None)
class AgainstAModel(RuleBasedStateMachine):
    """The journal beside plain Python lists and dictionaries, restarts included."""

    directory: Path

    def __init__(self) -> None:
        super().__init__()
        self.path = self.directory / f"model-{os.getpid()}"
        self.path.unlink(missing_ok=True)
        self.journal = Journal(self.path)
        self.waiting: list[tuple[int, int, int]] = []
        self.next = 0
        self.counts: dict[tuple[int, int, int], list[int]] = {}

    @rule(
        code=st.sampled_from([INVALID_NAME, INCORRECT_GUARD, UNKNOWN, 2 << 61 | 1 << 32]),
        owner=st.integers(1, 3),
        subcode=st.integers(0, 2**64 - 1),
        times=st.integers(1, 5),
    )
    def append(self, code: int, owner: int, subcode: int, times: int) -> None:
        counts = self.counts.setdefault((owner, code >> 61, code >> 32 & 0x1FFFFFFF), [0, 0])
        for _ in range(times):
            room = len(self.waiting) < 8
            assert self.journal.append(code, owner, subcode=subcode) == room
            counts[not room] += 1
            if room:
                self.waiting.append((self.next, owner, subcode))
                self.next += 1

    @precondition(lambda self: self.waiting)
    @rule(count=st.integers(0, 8))
    def read(self, count: int) -> None:
        records = self.journal.peek(count)
        found = [(record.seq, record.target_id, record.subcode) for record in records]
        assert found == self.waiting[: len(found)]
        assert found or count == 0
        self.journal.advance(len(found))
        del self.waiting[: len(found)]

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.journal = Journal(self.path, 0)
        assert self.journal.recovered_until == self.next

    @invariant()
    def agrees(self) -> None:
        assert self.journal.pending == len(self.waiting)
        assert self.journal.hits() == {key: tuple(counts) for key, counts in self.counts.items()}
        assert self.journal.lost == sum(lost for _, lost in self.counts.values())

    def teardown(self) -> None:
        self.journal.close()
        self.path.unlink()


@pytest.fixture(autouse=True, scope="module")
def _model_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    AgainstAModel.directory = tmp_path_factory.mktemp("model")


TestAgainstAModel = AgainstAModel.TestCase


def test_a_reader_beside_a_writer_sees_whole_records_in_order(path: Path) -> None:
    """The C calls release Python's lock, so the two run at the same time."""
    total = 100_000
    with Journal(path, 64) as journal:
        taken: list[bool] = []

        def write() -> None:
            hit = ffi.new("struct excguard_hit *", {"target_id": 1, "code": INVALID_NAME})
            for number in range(total):
                hit.subcode = hit.thread_id = hit.time_ns = number
                taken.append(bool(lib.excguard_journal_append(journal.handle, hit)))

        writer = threading.Thread(target=write)
        writer.start()
        seqs: list[int] = []
        last = -1
        while writer.is_alive() or journal.pending:
            records = journal.peek()
            for record in records:
                assert record.subcode == record.thread_id == record.time_ns > last
                last = record.subcode
                seqs.append(record.seq)
            journal.advance(len(records))
        writer.join()
        assert seqs == list(range(sum(taken)))
        assert journal.lost == total - len(seqs)
        assert journal.hits() == {(1, 1, 0x200): (len(seqs), total - len(seqs))}


def open_descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_memory_is_given_back(path: Path) -> None:
    Journal(path).close()
    descriptors = open_descriptors()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):
        Journal(path).close()
        with pytest.raises(RefusedError):
            Journal(path, 16)
    assert open_descriptors() == descriptors
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16_384
