"""Another program of the same user writes to the journal while it is in use, or truncates it."""

import faulthandler
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excguard.mach.host import Host
from excguard.native import ffi, lib
from excguard.pipeline.journal import Journal, JournalDamagedError
from excguard.pipeline.own_processes import OwnProcesses
from excguard.pipeline.record import RecordDecoder
from excguard.pipeline.target_names import TargetNames
from tests.end_to_end.conftest import child, kernel, serve
from tests.support.harness import Daemon, scrape, total
from tests.support.samples import INVALID_NAME
from tests.support.waiting import wait_until

__all__ = ["child", "kernel", "serve"]

RELEASE = 260400
CAPACITY = 1024
HEADER = 4096
COUNTERS = HEADER + int(lib.EXCGUARD_HIT_SLOTS) * 64
RECORD = int(lib.EXCGUARD_RECORD_SIZE)


@pytest.fixture
def journal(tmp_path: Path):
    with Journal(tmp_path / "journal", capacity=CAPACITY, release=RELEASE) as journal:
        yield journal


def append(journal: Journal, target: int = 1, code: int = INVALID_NAME) -> None:
    journal.append(target_id=target, pid=7, time_ns=1, code=code, subcode=0, flags=0)


def overwrite(journal: Journal, at: int, contents: bytes) -> None:
    """Write to the file as another program does."""
    with journal.path.open("r+b") as file:
        file.seek(at)
        file.write(contents)


def test_counters_without_a_free_one_do_not_keep_the_receiver(journal: Journal) -> None:
    append(journal)
    overwrite(journal, HEADER, b"\xa5" * (COUNTERS - HEADER))

    for number in range(1, 100):
        append(journal, number, INVALID_NAME + (number << 32))

    assert journal.pending == 100
    assert all(0 <= counter.flavor < 1 << 29 and counter.guard_type < 8 for counter in journal.hit_counters())


@pytest.mark.parametrize("size", [0, 1, HEADER, HEADER + 64, COUNTERS, COUNTERS + 128 * RECORD])
def test_truncated_file_ends_no_process(journal: Journal, size: int) -> None:
    for _ in range(500):
        append(journal)
    with journal.path.open("r+b") as file:
        file.truncate(size)

    for _ in range(CAPACITY):
        append(journal)
    journal.hit_counters()
    records, count = journal.read(journal.tail, CAPACITY)
    with pytest.raises(JournalDamagedError, match="another program has changed or truncated"):
        journal.verify(journal.tail, count)
    assert records is not None


@pytest.mark.parametrize("value", [0, 1, 499, 501, 2**31, 2**63, 2**64 - 1])
@pytest.mark.parametrize("field", ["head", "tail"])
def test_other_sequence_numbers_are_found(journal: Journal, field: str, value: int) -> None:
    for _ in range(500):
        append(journal)
    journal.release(200)
    header = journal.path.read_bytes()[:HEADER]
    number = {"head": 500, "tail": 200}[field].to_bytes(8, sys.byteorder)
    overwrite(journal, header.index(number), value.to_bytes(8, sys.byteorder))

    _, count = journal.read(journal.tail, CAPACITY)
    with pytest.raises(JournalDamagedError):
        journal.verify(journal.tail, count if field == "tail" or value > 500 else 300)


def test_record_that_was_changed_is_found(journal: Journal) -> None:
    for _ in range(10):
        append(journal)
    journal.verify(0, 10)
    overwrite(journal, COUNTERS + 5 * RECORD, b"\xff" * RECORD)

    journal.verify(0, 5)
    with pytest.raises(JournalDamagedError):
        journal.verify(0, 10)


def test_bus_error_elsewhere_still_ends_the_process(tmp_path: Path) -> None:
    pid = os.fork()
    if not pid:
        faulthandler.disable()  # of pytest
        with Journal(tmp_path / "journal", capacity=8, release=RELEASE):
            os.kill(os.getpid(), signal.SIGBUS)
            os.kill(os.getpid(), signal.SIGBUS)
        os._exit(0)
    _, status = os.waitpid(pid, 0)

    assert os.WTERMSIG(status) == signal.SIGBUS


@settings(max_examples=300)
@given(contents=st.binary(min_size=RECORD, max_size=RECORD))
def test_record_of_any_bytes_becomes_a_hit(contents: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    record = ffi.new("struct excguard_record *")
    ffi.buffer(record)[:] = contents
    names = TargetNames(tmp_path_factory.getbasetemp() / "no-journal", ())
    host = Host("26.4", "25E246", "simulated", "arm64", developer_mode=True, guard_behavior=0)
    decoder = RecordDecoder("mach", names, host, OwnProcesses())

    hit = decoder.hit(record, recovered=False)

    assert (hit.seq, hit.violation.code) == (record.seq, record.code)
    assert hit.to_dict()


def test_daemon_whose_journal_is_truncated_ends_with_an_error_and_starts_again(
    serve, child: str, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    config = (
        f'[[target]]\nname = "storm"\ncommand = ["sh", "-c", "{child} raise {INVALID_NAME:#x} 200000; '
        f'touch {done}; exec sleep 1000"]\nrestart = "never"\nstop_timeout = 5.0\n'
    )
    daemon: Daemon = serve(config)
    wait_until(lambda: total(scrape(daemon.url), "excguard_hits_total") > 1000)
    with (tmp_path / "journal").open("r+b") as file:
        file.truncate(0)

    assert daemon.wait() == 125
    assert b"another program has changed or truncated the journal" in daemon.stderr
    assert b"Traceback" not in daemon.stderr
    assert daemon.events("journal_damaged")
    assert daemon.events("service_stopped")

    again: Daemon = serve(config)
    wait_until(lambda: total(scrape(again.url), "excguard_hits_total") > 1000)
    assert again.stop() == 0
