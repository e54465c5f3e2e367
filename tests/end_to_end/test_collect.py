"""`excguard run --collect`: one directory with everything of a run, and nothing of other programs."""

import json
import os
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from excsim import Kernel
from tests.support.harness import EXCGUARD, events
from tests.support.samples import INVALID_NAME, THREAD_SET_STATE
from tests.support.waiting import wait_until

UUID = "0A0A0A0A-0000-3000-8000-000000000000"


def ips(pid: int, started: datetime, parent: int, name: str = "child") -> str:
    """What ReportCrash writes about a process that a guard has ended."""
    body = {
        "pid": pid,
        "parentPid": parent,
        "procName": name,
        "procLaunch": f"{started:%Y-%m-%d %H:%M:%S.%f %z}",
        "captureTime": f"{started + timedelta(seconds=1):%Y-%m-%d %H:%M:%S.%f %z}",
        "exception": {
            "type": "EXC_GUARD",
            "subtype": "GUARD_TYPE_MACH_PORT",
            "signal": "SIGKILL",
            "violations": ["THREAD_SET_STATE"],
            "message": " THREAD_SET_STATE on mach port 0 (guarded with 0x0000000000000000)",
            "codes": "0x0000000009c00000, 0x0000000000000000",
            "rawCodes": [0x09C00000, 0],
        },
        "termination": {"namespace": "GUARD", "flags": 2, "code": THREAD_SET_STATE},
        "faultingThread": 0,
        "threads": [{"triggered": True, "frames": [{"imageOffset": 4, "imageIndex": 0}]}],
        "usedImages": [{"name": name, "uuid": UUID}],
    }
    return (
        json.dumps({"bug_type": "309", "os_version": "macOS 26.4 (25E246)"})
        + "\n"
        + json.dumps(body, indent=2)
    )


def start(
    kernel: Kernel, tmp_path: Path, *command: str, more: tuple[str, ...] = ()
) -> "subprocess.Popen[str]":
    """A run that collects in ``out``; reports are expected in ``reports``."""
    (tmp_path / "reports").mkdir(exist_ok=True)
    (tmp_path / "c.toml").write_text('[crash_reports]\ndirectories = ["reports"]\nwait = 60.0\n')
    options = ("--metrics", "off", "--config", "c.toml", "--collect", "out", *more)
    return subprocess.Popen(
        [*EXCGUARD, "run", *options, "--", *command],
        cwd=tmp_path,
        env=kernel.environ,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_only_the_reports_of_this_run_are_taken_and_none_is_missing(
    kernel: Kernel, child: str, tmp_path: Path
) -> None:
    """Two children die of a guard, one of a signal; a thousand other programs crash beside them."""
    out, reports = tmp_path / "out", tmp_path / "reports"
    deadly = f"{child} raise {THREAD_SET_STATE:#x} 1"
    running = start(kernel, tmp_path, "sh", "-c", f"{deadly}; {deadly}; sh -c 'kill -SEGV $$'; exit 0")
    hits = wait_until(lambda: events(out / "events.jsonl", "guard_hit"), lambda found: len(found) == 2)
    (exited,) = wait_until(lambda: events(out / "events.jsonl", "target_exited"))
    (started,) = events(out / "events.jsonl", "target_started")
    main, moment = started["pid"], datetime.fromisoformat(started["timestamp"])
    pids = [hit["pid"] for hit in hits]
    for number in range(1000):
        # Some have a pid of the run, from before or after it, some were started while it ran.
        pid = [*pids, main, main + 5000 + number][number % 4]
        shift = timedelta(hours=1 if number % 2 else -1) if pid < main + 5000 else timedelta(seconds=0.1)
        text = ips(pid, moment + shift, parent=1, name="other")
        (reports / f"other-{number}.ips").write_text(text if number % 10 else text[:200])
    launched = moment + timedelta(seconds=0.01)
    segv = ips(main + 4000, launched, parent=main, name="sh")
    (reports / "sh-1.ips").write_text(segv)
    own = {f"child-{pid}.ips": ips(pid, launched, parent=main) for pid in pids}
    for name, text in own.items():
        (reports / name).write_text(text[:250])
    wait_until(lambda: len(list((out / "crash_reports").iterdir())) == 3)
    assert running.poll() is None  # two reports are incomplete
    for name, text in own.items():
        (reports / "Retired").mkdir(exist_ok=True)
        with (reports / name).open("a") as file:
            file.write(text[250:])
    _, errors = running.communicate(timeout=60)

    assert running.returncode == exited["status"] == 0
    found = {path.name: path.read_text() for path in (out / "crash_reports").iterdir()}
    assert found == {**own, "sh-1.ips": segv}
    assert "out has everything of this run, with 3 crash reports." in errors
    summary = json.loads((out / "summary.json").read_text())
    assert summary["collected"]["crash_reports_missing"] == []
    assert {one["pid"] for one in summary["collected"]["crash_reports"]} == {*pids, main + 4000}
    assert all(one["complete"] for one in summary["collected"]["crash_reports"])
    *_, last = events(out / "events.jsonl")
    assert (last["event"], last["hits"]) == ("run_summary", 2)
    assert "### excguard: sh" in (out / "summary.md").read_text()
    assert {path.name for path in out.iterdir()} == {
        *("crash_reports", "events.jsonl", "journal", "summary.json", "summary.md")
    }


SYMBOLS = f"""MODULE mac arm64 {UUID.replace("-", "")}0 child
FILE 0 /src/child.c
FUNC 0 40 0 close_camera
0 40 12 0
"""


def test_reports_are_symbolicated_and_put_into_words(kernel: Kernel, child: str, tmp_path: Path) -> None:
    pytest.importorskip("symbolic")
    (tmp_path / "symbols").mkdir()
    (tmp_path / "symbols" / "child.sym").write_text(SYMBOLS)
    deadly = (child, "raise", hex(THREAD_SET_STATE), "1")
    running = start(kernel, tmp_path, *deadly, more=("--dsym", "symbols", "--fail-on", "fatal"))
    out = tmp_path / "out"
    (started,) = wait_until(lambda: events(out / "events.jsonl", "target_started"))
    wait_until(lambda: events(out / "events.jsonl", "target_exited"))
    text = ips(started["pid"], datetime.fromisoformat(started["timestamp"]), parent=os.getpid())
    (tmp_path / "reports" / "child.ips").write_text(text)
    running.communicate(timeout=60)

    assert running.returncode == 3
    assert (out / "crash_reports" / "child.ips").read_text() == text
    body = json.loads((out / "symbolicated" / "child.ips").read_text().partition("\n")[2])
    (frame,) = body["threads"][0]["frames"]
    assert (frame["symbol"], frame["symbolLocation"], frame["sourceLine"]) == ("close_camera", 4, 12)
    words = (out / "symbolicated" / "child.ips.txt").read_text()
    assert "THREAD_SET_STATE" in words
    assert "close_camera + 4 (/src/child.c:12)" in words
    modes = {path.stat().st_mode & 0o777 for path in out.rglob("*") if path.is_file()}
    assert modes == {out.stat().st_mode & 0o666}


def test_a_report_that_does_not_come_is_named(kernel: Kernel, child: str, tmp_path: Path) -> None:
    running = start(kernel, tmp_path, child, "raise", hex(THREAD_SET_STATE), "1")
    (started,) = wait_until(lambda: events(tmp_path / "out" / "events.jsonl", "target_started"))
    wait_until(lambda: events(tmp_path / "out" / "events.jsonl", "target_exited"))
    running.terminate()  # ends the waiting, and nothing else
    _, errors = running.communicate(timeout=60)

    assert running.returncode == 137
    assert f"No crash report of pid {started['pid']} came" in errors
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["collected"]["crash_reports_missing"] == [started["pid"]]


def test_a_status_of_a_shell_announces_a_report(kernel: Kernel, tmp_path: Path) -> None:
    """Without Developer Mode the kernel delivers no fatal guard; only the status shows that one was."""
    running = start(kernel, tmp_path, "sh", "-c", "sh -c 'kill -KILL $$'; exit $?")
    (started,) = wait_until(lambda: events(tmp_path / "out" / "events.jsonl", "target_started"))
    wait_until(lambda: events(tmp_path / "out" / "events.jsonl", "target_exited"))
    moment = datetime.fromisoformat(started["timestamp"])
    text = ips(started["pid"] + 1, moment, parent=started["pid"], name="sh")
    (tmp_path / "reports" / "sh.ips").write_text(text)
    _, errors = running.communicate(timeout=60)

    assert running.returncode == 137
    assert "with 1 crash report." in errors


def test_nothing_is_waited_for_where_nothing_writes_reports(run, child: str, tmp_path: Path) -> None:
    done = run("--collect", str(tmp_path / "out"), "--", child, "raise", hex(THREAD_SET_STATE), "1")

    assert done.returncode == 137
    assert "with 0 crash reports." in done.stderr
    assert "No crash report" not in done.stderr


def test_the_journal_is_kept_and_recovers_a_run_that_was_killed(
    kernel: Kernel, child: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    running = subprocess.Popen(
        [*EXCGUARD, "run", "--metrics", "off", "--collect", str(out), "--", child, "count", "n", "1000"],
        cwd=tmp_path,
        env=kernel.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: events(out / "events.jsonl", "guard_hit"))
    running.kill()
    running.communicate(timeout=60)
    done = subprocess.run(
        [*EXCGUARD, "recover", "--json", str(out / "journal")],
        env=kernel.environ,
        capture_output=True,
        text=True,
        check=True,
    )

    recovered = [json.loads(line) for line in done.stdout.splitlines()]
    names = {"journal_recovered", "guard_hit", "guard_hits_suppressed"}
    assert {line["event"] for line in recovered} <= names
    assert not (out / "journal").exists()  # everything in it is written


def test_a_journal_that_the_configuration_has_placed_is_copied(run, child: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[journal]\npath = "kept"\n')
    options = ("--config", str(tmp_path / "c.toml"), "--collect", str(tmp_path / "out"))
    run(*options, "--", child, "raise", hex(INVALID_NAME), "1")

    copy = tmp_path / "out" / "journal" / "kept"
    assert copy.read_bytes() == (tmp_path / "kept").read_bytes()


def _link(path: Path) -> None:
    path.with_name("elsewhere").mkdir()
    path.symlink_to(path.with_name("elsewhere"))


def _shared(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def _of_another_user(path: Path) -> None:
    path.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(path, 12345, -1)


def _not_empty(path: Path) -> None:
    path.mkdir()
    (path / "of the last run").touch()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_not_empty, "not empty: name another directory, or remove what is in it"),
        (_link, "a symbolic link, not a directory"),
        (Path.touch, "not a directory"),
        (_shared, "other users can write to it"),
        (_of_another_user, "belongs to user 12345"),
        (lambda path: path.parent.rmdir(), "cannot be written: no such file or directory"),
    ],
)
def test_a_directory_that_cannot_be_used_is_one_line_before_the_run(
    run, tmp_path: Path, prepare, message: str
) -> None:
    (tmp_path / "below").mkdir()
    path = tmp_path / "below" / "out"
    prepare(path)
    done = run("--collect", str(path), "--", "echo", "started")

    assert (done.returncode, done.stdout) == (2, "")
    assert f"--collect {path}: {message}" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "expected a name of one character or more"),
        ("none\n\x1b[31m/out", "--collect none\\n\\x1b[31m/out: "),
    ],
)
def test_any_name_is_one_line(run, path: str, message: str) -> None:
    done = run("--collect", path, "--", "true")

    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_empty_directory_is_taken(run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    done = run("--collect", str(tmp_path / "out"), "--", "true")

    assert done.returncode == 0
    assert (tmp_path / "out" / "summary.json").exists()
