"""A log that a test can read, and a server to send to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from excguard.sinks.line_output import LineOutput
from excguard.sinks.log import EventLog, json_form
from tests.support.clock import Clock
from tests.support.http_receiver import Receiver, receiver


@pytest.fixture
def make_log(tmp_path: Path):
    """Makes a log; the second value reads what it has written."""

    def make(form=json_form, *, explain=False):
        def fail(text: str) -> None:
            raise AssertionError(text)

        path = tmp_path / "log"
        output = LineOutput.open(path, fail)
        log = EventLog(output, kernel="simulated", release="macOS 26.4", form=form, explain=explain)

        def read() -> str:
            assert log.flush()
            return path.read_text()

        return log, read

    return make


@pytest.fixture
def server() -> Iterator[Receiver]:
    """A server that keeps the requests it gets."""
    with receiver() as kept:
        yield kept


@pytest.fixture
def clock() -> Clock:
    """The clock of a sink that sends to others."""
    return Clock()


@pytest.fixture
def complaints() -> list[str]:
    """What a sink complains about."""
    return []
