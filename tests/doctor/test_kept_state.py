"""What `excguard doctor` says of journals and their tables of names."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from excguard.config import Config
from excguard.config import Journal as JournalSettings
from excguard.doctor.finding import Finding, Status
from excguard.doctor.kept_state import kept_state
from excguard.pipeline.journal import Journal

RELEASE = 260400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def look(path: Path) -> list[Finding]:
    config = msgspec.structs.replace(Config(), journal=JournalSettings(path=str(path)))
    system = SimpleNamespace(host=SimpleNamespace(release="26.4"))
    before = {each: (each.lstat().st_mtime_ns, each.lstat().st_size) for each in path.parent.iterdir()}
    found = list(kept_state(system, config))
    after = {each: (each.lstat().st_mtime_ns, each.lstat().st_size) for each in path.parent.iterdir()}
    assert before == after  # doctor changes nothing
    return found


def fill(path: Path, hits: int = 3) -> None:
    with Journal(path, capacity=16, release=RELEASE) as journal:
        for _ in range(hits):
            journal.append(target_id=1, pid=1, time_ns=1, code=1 << 61, subcode=0, flags=0)


def test_no_file_is_nothing_to_report_and_a_directory_is(path: Path) -> None:
    assert look(path) == []
    path.with_name("journal.targets.json").mkdir()
    assert [finding.status for finding in look(path)] == [Status.PROBLEM]


def test_undamaged_files_with_hits_that_wait(path: Path) -> None:
    fill(path)
    path.with_name("journal.targets.json").write_text('{"targets":{"mail":1}}')

    (journal, table) = look(path)

    assert (journal.check, journal.status, journal.meaning) == (
        "journal",
        Status.OK,
        "undamaged; 3 hits wait to be logged",
    )
    assert (table.check, table.status, table.meaning) == ("target names", Status.OK, "undamaged; 1 names")


def test_a_journal_in_use_is_not_examined(path: Path) -> None:
    with Journal(path, capacity=16, release=RELEASE):
        (finding,) = look(path)

    assert (finding.status, finding.meaning) == (Status.OK, "in use by a running excguard")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"rubbish" * 1000),
        lambda path: os.truncate(path, 5000),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.symlink_to(sys.executable)),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)),
    ],
    ids=["rubbish", "truncated", "fifo", "link", "counters"],
)
@pytest.mark.parametrize("name", ["journal", "journal.crash_report"])
def test_a_damaged_journal_is_a_problem(path: Path, name: str, damage) -> None:
    fill(path.with_name(name))
    damage(path.with_name(name))

    (finding,) = look(path)

    assert (finding.check, finding.status) == ("journal", Status.PROBLEM)
    assert str(path.with_name(name)) in finding.found


@pytest.mark.parametrize("contents", [b"", b"{}", b"[" * 100_000, b'{"targets":{"a":0}}', b"\xff"])
def test_a_damaged_table_is_a_problem(path: Path, contents: bytes) -> None:
    path.with_name("journal.targets.json").write_bytes(contents)

    (finding,) = look(path)

    assert (finding.check, finding.status) == ("target names", Status.PROBLEM)


def test_what_was_set_aside_is_named(path: Path) -> None:
    kept = path.with_name("journal.damaged-20261127T120000Z")
    kept.write_bytes(b"")

    (finding,) = look(path)

    assert (finding.status, finding.found) == (Status.WARNING, str(kept))
