"""Files that change while they are read: what is read is bounded and whole, or it is an error."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from excguard import crash_reports
from excguard.config import ConfigError, load
from excguard.files import bounded
from excguard.web.errors import WebConfigError
from excguard.web.web_config import WebConfigFile
from tests.support.samples import INVALID_NAME

LIMIT = 1 << 20


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has a function called between two reads of a file."""

    def between(change: Callable[[], object]) -> None:
        read, left = os.read, [change]

        def changed(descriptor: int, size: int) -> bytes:
            part = read(descriptor, min(size, 1000))
            if left:
                left.pop()()
            return part

        monkeypatch.setattr(os, "read", changed)

    return between


def test_file_that_grows_without_end_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    read = os.read

    def growing(descriptor: int, size: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"x" * 100_000)
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", growing)
    with pytest.raises(bounded.FileTooLargeError):
        bounded.read(path, LIMIT)


def test_file_that_is_truncated_is_read_as_far_as_it_goes(tmp_path: Path, between) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)
    between(lambda: os.truncate(path, 1500))

    assert bounded.read(path, LIMIT) == b"x" * 1500


def test_file_that_is_replaced_is_read_as_it_was(tmp_path: Path, between) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"x" * 100_000)
    other.write_bytes(b"y" * 100_000)
    between(lambda: other.replace(path))

    assert bounded.read(path, LIMIT) == b"x" * 100_000


def test_configuration_that_is_cut_off_meanwhile_is_refused(tmp_path: Path, between) -> None:
    path = tmp_path / "c.toml"
    text = "".join(f'[[target]]\nname = "t{number}"\ncommand = ["x"]\n' for number in range(100))
    path.write_text(text)
    between(lambda: os.truncate(path, text.index('["x"]', 1500) + 2))

    with pytest.raises(ConfigError, match=r"c\.toml"):
        load(path)


def test_web_configuration_that_changes_meanwhile_is_read_again(tmp_path: Path, between) -> None:
    path = tmp_path / "web.yml"
    path.write_text("rate_limit: {interval: 1s, burst: 1}\n")
    between(lambda: path.write_text("rate_limit: {interval: 1s, burst: 22}\n"))
    file = WebConfigFile(path)

    assert file.current().burst == 22
    path.unlink()
    with pytest.raises(WebConfigError, match="cannot be read"):
        file.current()


def test_report_that_others_rewrite_all_the_time_is_read_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.crash"
    whole = f"Exception Type: EXC_GUARD\nException Codes: {INVALID_NAME:#x}, 0x1\n".encode() * 2000
    path.write_bytes(whole)
    stop = threading.Event()

    def rewrite() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 7919) % len(whole)
            with path.open("r+b") as file:
                file.truncate(number)
                file.seek(number)
                file.write(whole[number:])

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(20):
            for report in crash_reports.read_all(path):
                assert len(report.violations) <= 2000
    finally:
        stop.set()
        writer.join()
