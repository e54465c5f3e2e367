"""The kernel's lines become hits; garbled ones are counted; the subprocess is kept running."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excguard.pipeline.source import ExternalHit
from excguard.sources.unified_log import (
    DEFAULT_COMMAND,
    LineError,
    UnifiedLogReader,
    parse_line,
    parse_message,
)
from tests.support.waiting import until

WHOLE = (
    "ERROR: [Mail:4711] EXC_GUARD AST: "
    "type=0x1 flavor=0x200 target=0x8f53 code=0x2000020000008f53 subcode=0x5"
)


def event(message: str, **fields: object) -> str:
    """A line as `log stream --style ndjson` prints it."""
    return json.dumps(
        {
            "timezoneName": "",
            "messageType": "Error",
            "eventType": "logEvent",
            "source": None,
            "formatString": "ERROR: [%s:%d] EXC_GUARD AST: type=0x%x flavor=0x%x target=0x%x ...",
            "userID": 0,
            "subsystem": "",
            "processImagePath": "/kernel",
            "timestamp": "2026-03-06 13:30:09.202323+0800",
            "eventMessage": message,
            "processID": 0,
            **fields,
        }
    )


def test_whole_line() -> None:
    assert parse_line(event(WHOLE)) == ExternalHit(
        pid=4711,
        process="Mail",
        code=0x2000020000008F53,
        subcode=5,
        time_ns=1_772_775_009_202_323_000,
    )


def test_every_line_of_the_corpus(corpus_lines: list[dict]) -> None:
    assert len(corpus_lines) >= 4
    for row in corpus_lines:
        hit = parse_line(event(row["message"]))
        assert hit is not None
        assert (hit.code, hit.subcode) == (row["code"], row["subcode"])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("[a]b:c:12] EXC_GUARD AST: type=0x5 flavor=0x1", ("a]b:c", 12, 0xA000000100000000, None)),
        ("EXC_GUARD AST: type=0x1 flavor=0x200 target=0x2d33", ("", 0, 0x2000020000002D33, None)),
        (
            "[: 1] x [Über:9] EXC_GUARD AST: type=0x2 flavor=0x1",
            (": 1] x [Über", 9, 0x4000000100000000, None),
        ),
    ],
)
def test_names_and_trimmed_quotations(message: str, expected) -> None:
    assert parse_message(message) == expected


@pytest.mark.parametrize(
    "line",
    [
        event(WHOLE)[:-20],  # cut
        event(WHOLE.replace("flavor=0x200", "flavor=0x2z0")),
        event(WHOLE.replace("flavor=0x200", "flavor=0x201")),  # contradicts the code
        event(WHOLE.replace("type=0x1", "type=0x9")),
        event(WHOLE + " and more"),
        event(WHOLE, timestamp="yesterday"),
        event("EXC_GUARD AST"),
        event(WHOLE, eventMessage=7),
        "[1, 2]",
        "nonsense",
        b"\xff\xfe",
        event(WHOLE)[:-1] + ', "a": ' + "[" * 100_000,
    ],
)
def test_garbled_line_is_rejected(line) -> None:
    with pytest.raises(LineError):
        parse_line(line)


def test_other_lines_are_ignored() -> None:
    assert parse_line(event("DarkWake from Normal Sleep")) is None
    assert parse_line('{"eventType": "activityCreateEvent"}') is None


@given(st.text(max_size=200))
def test_no_message_breaks_the_reader(text: str) -> None:
    try:
        hit = parse_line(event("EXC_GUARD AST" + text))
    except LineError:
        return
    assert hit is not None
    assert 0 <= hit.code < 2**64


class Follower:
    """A reader and what it reported."""

    def __init__(self) -> None:
        self.hits: list[ExternalHit] = []
        self.failures: list[str] = []
        self.events: list[tuple[str, dict]] = []
        self.delays: list[float] = []
        self.stop_after = 3

    def hit(self, hit: ExternalHit) -> None:
        self.hits.append(hit)

    def failure(self, kind: str, _example: str) -> None:
        self.failures.append(kind)

    def event(self, _level: str, name: str, **fields) -> None:
        self.events.append((name, fields))

    def follow(self, *command: str) -> None:
        async def sleep(seconds: float) -> None:
            self.delays.append(seconds)
            if len(self.delays) >= self.stop_after:
                raise asyncio.CancelledError

        asyncio.run(self._whole(UnifiedLogReader(command, self, sleep=sleep)))

    @staticmethod
    async def _whole(log: UnifiedLogReader) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await log.run()


def test_recorded_output_is_read_to_its_end(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded.ndjson"
    lines = [
        'Filtering the log data using "process == \\"kernel\\""',
        event(WHOLE),
        event("something else"),
        event(WHOLE)[:50],
        "",
        event(WHOLE, eventType="lossEvent"),
        event(WHOLE.replace("4711", "4712")),
    ]
    recorded.write_text("\n".join(lines))  # the last line has no end
    follower = Follower()
    follower.follow("cat", str(recorded))

    assert [hit.pid for hit in follower.hits] == [4711, 4712]
    assert follower.failures == ["garbled", "dropped"]
    assert [name for name, _ in follower.events] == ["source_finished"]


def test_line_without_end_costs_no_memory_and_counts_once(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded.ndjson"
    recorded.write_text("x" * 5_000_000 + "\n" + event(WHOLE) + "\n")
    follower = Follower()
    follower.follow("cat", str(recorded))

    assert follower.failures == ["garbled"]
    assert len(follower.hits) == 1


def test_subprocess_that_fails_is_started_again_later_and_later() -> None:
    follower = Follower()
    script = f"import sys; print({event(WHOLE)!r}); sys.exit('x\\nlog: Must be admin to run')"
    follower.follow(sys.executable, "-ISc", script)

    assert follower.delays == [1.0, 2.0, 4.0]
    assert len(follower.hits) == 3
    name, fields = follower.events[0]
    assert name == "source_failed"
    assert (fields["status"], fields["error"], fields["delay"]) == (1, "log: Must be admin to run", 1.0)


def test_command_that_is_not_there() -> None:
    follower = Follower()
    follower.follow("/nowhere/log")

    assert follower.events[0][1]["error"] == "no such file or directory"
    assert follower.events[0][1]["status"] == 127


def test_subprocess_ends_with_its_follower(monkeypatch) -> None:
    monkeypatch.setattr("excguard.sources.unified_log._STOP_TIMEOUT", 0.05)

    async def main() -> int:
        follower = Follower()
        log = UnifiedLogReader(
            # Prints its pid as if it were that of a hit, then ignores SIGTERM forever.
            [sys.executable, "-ISc", STUBBORN.replace("LINE", repr(event(WHOLE)))],
            follower,
        )
        task = asyncio.create_task(log.run())
        await until(lambda: bool(follower.hits))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return follower.hits[0].pid

    pid = asyncio.run(main())
    assert not Path(f"/proc/{pid}").exists()


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(LINE.replace("4711", str(os.getpid())), flush=True)
time.sleep(600)
"""


def test_default_command_asks_for_the_kernels_lines_alone() -> None:
    assert DEFAULT_COMMAND[0] == "/usr/bin/log"
    assert DEFAULT_COMMAND[1:4] == ("stream", "--style", "ndjson")
    assert "EXC_GUARD AST" in DEFAULT_COMMAND[-1]
