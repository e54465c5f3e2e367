"""Lines out: whole, in order, and with a plan for the day when writing fails."""

import os
import resource
import signal
from pathlib import Path

import pytest

from excguard.sinks.line_output import LineOutput


@pytest.fixture
def complaints() -> list[str]:
    return []


def test_lines_are_appended(tmp_path: Path, complaints: list[str]) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    output = LineOutput.open(path, complaints.append)
    output.msg("one")
    output.info("zwei \N{SNOWMAN}")
    assert path.read_bytes() == b"before\n"

    assert output.flush()
    assert path.read_text() == "before\none\nzwei \N{SNOWMAN}\n"
    output.msg("three")
    assert output.close()
    assert path.read_text().endswith("\nthree\n")
    assert complaints == []


def test_half_a_line_of_a_killed_writer_is_ended_first(tmp_path: Path, complaints: list[str]) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"whole\nha")
    output = LineOutput.open(path, complaints.append)
    output.msg("next")
    output.close()

    assert path.read_bytes() == b"whole\nha\nnext\n"


def test_full_disk_is_waited_for_and_no_byte_is_lost_or_written_twice(
    tmp_path: Path, complaints: list[str]
) -> None:
    """A limit on the size of files fails the write in the middle, as a full disk does."""
    path = tmp_path / "log"
    output = LineOutput.open(path, complaints.append)
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (25, old_limit[1]))
        for number in range(5):
            output.msg(f"line {number} ...")
        assert not output.flush()
        output.msg("line 5 ...")
        assert not output.flush()
        assert path.stat().st_size == 25
        assert output.failures == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)

    assert output.flush()
    assert path.read_text() == "".join(f"line {number} ...\n" for number in range(6))
    assert len(complaints) == 1
    assert str(path) in complaints[0]
    assert "wait in the journal" in complaints[0]
    assert output.dropped == 0
    output.close()


def test_lines_that_gather_without_end_are_counted_instead(tmp_path: Path, complaints: list[str]) -> None:
    output = LineOutput.open(tmp_path / "log", complaints.append)
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, old_limit[1]))
        for _ in range(12):
            output.msg("x" * (1 << 20))
            assert not output.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)

    assert 0 < output.dropped <= 4
    assert output.close()
    assert (tmp_path / "log").read_bytes().count(b"\n") == 12 - output.dropped


def test_closed_pipe_is_given_up(complaints: list[str]) -> None:
    read_end, write_end = os.pipe()
    output = LineOutput(write_end, "standard error", complaints.append, owned=True)
    os.close(read_end)
    output.msg("one")
    output.msg("two")

    assert output.flush()  # nothing waits: there is no reader to wait for
    output.msg("three")
    assert output.flush()
    assert output.dropped == 3
    assert len(complaints) == 1
    assert "standard error cannot be written: broken pipe" in complaints[0]
    assert not output.close()


def test_full_pipe_that_does_not_block_is_waited_for(complaints: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    output = LineOutput(write_end, "standard error", complaints.append, owned=True)
    lines = [f"{number:08d}" for number in range(20_000)]
    for line in lines:
        output.msg(line)

    received = b""
    while not output.flush():
        received += os.read(read_end, 1 << 20)
    output.close()
    while part := os.read(read_end, 1 << 20):
        received += part
    os.close(read_end)
    assert received.decode().split() == lines
    assert output.dropped == 0


def test_text_that_is_no_utf8_is_escaped(tmp_path: Path, complaints: list[str]) -> None:
    output = LineOutput.open(tmp_path / "log", complaints.append)
    output.msg("a\udcffb")
    output.close()

    assert (tmp_path / "log").read_bytes() == b"a\\udcffb\n"


def test_rotation_moves_on_to_the_new_file(tmp_path: Path, complaints: list[str]) -> None:
    path = tmp_path / "log"
    output = LineOutput.open(path, complaints.append)
    output.msg("one")
    path.rename(tmp_path / "log.0")
    output.msg("two")
    output.reopen()
    output.msg("three")
    output.close()

    assert (tmp_path / "log.0").read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"


def test_another_file_that_ends_in_half_a_line(tmp_path: Path, complaints: list[str]) -> None:
    (tmp_path / "other").write_text("ha")
    output = LineOutput.open(tmp_path / "log", complaints.append)
    output.reopen(tmp_path / "other")
    output.msg("one")
    output.close()

    assert (tmp_path / "other").read_text() == "ha\none\n"
    assert output.name == str(tmp_path / "other")


def test_file_that_cannot_be_opened_leaves_the_old_one_in_use(tmp_path: Path, complaints: list[str]) -> None:
    path = tmp_path / "log"
    output = LineOutput.open(path, complaints.append)
    with pytest.raises(IsADirectoryError):
        output.reopen(tmp_path)
    output.msg("one")
    output.close()

    assert path.read_text() == "one\n"


def test_rotation_waits_for_a_line_that_is_half_written(tmp_path: Path, complaints: list[str]) -> None:
    path = tmp_path / "log"
    output = LineOutput.open(path, complaints.append)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6, before[1]))
        output.msg("abcdefgh")
        assert not output.flush()
        path.rename(tmp_path / "log.0")
        output.reopen()
        output.reopen()
        output.msg("two")
        assert path.read_bytes() == b""
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert output.flush()
    output.msg("three")
    output.close()

    assert (tmp_path / "log.0").read_text() == "abcdefgh\ntwo\n"
    assert path.read_text() == "three\n"


def test_standard_error_stays_what_it_is(complaints: list[str]) -> None:
    read, write = os.pipe()
    output = LineOutput(write, "a pipe", complaints.append)
    output.reopen()
    output.msg("one")
    output.flush()
    assert os.read(read, 100) == b"one\n"
    os.close(read)
    os.close(write)
