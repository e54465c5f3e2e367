"""Hits to log and counters to export."""

from pathlib import Path

import pytest

from excguard.decode import decode
from excguard.hit import Hit
from excguard.sinks.line_output import LineOutput
from excguard.sinks.log import EventLog, json_form

INVALID_NAME = 0x2000_0200_0000_2703  # the example of Apple's guide: INVALID_NAME on mach port 9987


@pytest.fixture
def make_hit():
    """Makes hits; keywords replace what a plain INVALID_NAME has."""

    def make(code: int = INVALID_NAME, subcode: int = 0, **changes) -> Hit:
        fields = {
            "violation": decode(code, subcode, "26.4"),
            "target": "mail",
            "pid": 4242,
            "thread_id": 77,
            "time_ns": 1_772_366_400_120_000_999,
            "behavior": "identity_protected",
            "reply": "forward",
            "kernel": "simulated",
            "release": "macOS 26.4",
            "seq": 5,
            "recovered": False,
            "inherited": False,
        }
        return Hit(**{**fields, **changes})

    return make


@pytest.fixture
def make_log(tmp_path: Path):
    """Makes a log; the second value reads what it has written."""

    def make(form=json_form):
        def fail(text: str) -> None:
            raise AssertionError(text)

        path = tmp_path / "log"
        log = EventLog(LineOutput.open(path, fail), kernel="simulated", release="macOS 26.4", form=form)

        def read() -> str:
            assert log.flush()
            return path.read_text()

        return log, read

    return make
