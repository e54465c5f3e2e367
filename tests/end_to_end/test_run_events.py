"""`excguard run --events`: what happens as JSON lines, apart from what the program writes."""

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.harness import EXCGUARD
from tests.support.samples import INVALID_NAME


def parsed(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_go_to_a_file_and_people_read_standard_error(run, child: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("of the last run\n")
    done = run("--events", str(path), "--", child, "raise", hex(INVALID_NAME), "3")
    *lines, last = parsed(path.read_text())

    assert [line["event"] for line in lines].count("guard_hit") == 3
    assert (last["event"], last["hits"]) == ("run_summary", 3)
    assert "Fix:" in done.stderr
    assert "{" not in done.stderr


def test_events_have_a_descriptor_of_their_own(kernel, child: str) -> None:
    """The program writes to its standard error and does not inherit the descriptor."""
    reading, writing = os.pipe()
    script = f"echo noise >&2; (echo mine >&{writing}) 2>/dev/null; {child} raise {INVALID_NAME:#x} 1"
    with os.fdopen(reading, encoding="utf-8") as pipe:
        running = subprocess.Popen(
            [*EXCGUARD, "run", "--metrics", "off", "--events", str(writing), "--", "sh", "-c", script],
            env=kernel.environ,
            pass_fds=(writing,),
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writing)
        events = parsed(pipe.read())
        _, errors = running.communicate(timeout=60)

    assert events[-1]["event"] == "run_summary"
    assert sum(event["event"] == "guard_hit" for event in events) == 1
    assert "noise\n" in errors


def test_a_fifo_is_read_while_the_program_runs(run, child: str, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(path.read_text()))
    reader.start()
    run("--events", str(path), "--", child, "raise", hex(INVALID_NAME), "2")
    reader.join()

    assert sum(event["event"] == "guard_hit" for event in parsed(found[0])) == 2


def test_a_program_that_cannot_be_started_is_in_the_events(run, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    done = run("--events", str(path), "--", "/nowhere/program")
    last = parsed(path.read_text())[-1]

    assert done.returncode == 125
    assert last["error"] == "cannot start /nowhere/program: no such program; check the path"


def test_why_there_is_no_run_is_in_the_events(run, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    done = run("--events", str(path), "--log", "/nowhere/log", "--", "true")
    (error,) = parsed(path.read_text())

    assert done.returncode == 125
    assert (error["event"], error["error"]) == ("excguard_error", "/nowhere/log: no such file or directory")


def test_events_on_standard_output_follow_the_programs_own(run) -> None:
    done = run("--events", "-", "--", "true")

    assert parsed(done.stdout)[-1]["event"] == "run_summary"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--events", "77"), 2, "descriptor 77 is not open"),
        (("--events", "99999999999999999999"), 2, "is not open"),
        (("--events", "0"), 2, "descriptor 0 is open for reading only"),
        (("--events", ""), 2, "expected a name of one character or more"),
        (("--events", "-", "--report", "-"), 2, "--report - and --events -: only one of them"),
        (("--events", "/nowhere/events"), 125, "/nowhere/events: no such file or directory"),
        (("--events", "/"), 125, "/: is a directory"),
    ],
)
def test_what_cannot_be_written_is_one_line_before_the_run(
    run, options: tuple[str, ...], status: int, message: str
) -> None:
    with Path(os.devnull).open() as read_only:
        done = run(*options, "--", "echo", "started", stdin=read_only)

    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
