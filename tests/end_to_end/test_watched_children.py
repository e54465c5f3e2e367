"""The main job: a program misuses Mach ports, and each hit is in the log and on /metrics."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.harness import EXCGUARD, events, scrape, total
from tests.support.waiting import wait_until

PYTHON_CHILD = """
import sys
from excguard.misuse import double_deallocate
from excguard.native import lib
if "deadly" in sys.argv:
    fatal = lib.TASK_EXC_GUARD_MP_DELIVER | lib.TASK_EXC_GUARD_MP_FATAL
    assert lib.task_set_exc_guard_behavior(lib.mach_task_self(), fatal) == 0
import os
print(os.getpid(), end=" ", flush=True)
answer = double_deallocate()
print(answer.port, flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["c", "python"])
def program(request, child: str) -> list[str]:
    """The command of a program that double-deallocates a port and prints its pid and the port."""
    return [child, "double_deallocate"] if request.param == "c" else [sys.executable, "-c", PYTHON_CHILD]


def test_double_deallocation_is_logged_while_the_program_carries_on(kernel, tmp_path: Path, program) -> None:
    log = tmp_path / "log"
    command = [
        *EXCGUARD,
        "run",
        "--name",
        "app",
        "--metrics",
        "127.0.0.1:0",
        "--log",
        str(log),
        "--",
        *program,
    ]
    with subprocess.Popen(
        command,
        env={**os.environ, **kernel.environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as excguard:
        assert excguard.stdin is not None
        assert excguard.stdout is not None
        pid, port = (int(word) for word in excguard.stdout.readline().split())
        hit, *more = wait_until(lambda: events(log, "guard_hit"))
        (listening,) = wait_until(lambda: events(log, "metrics_listening"))
        samples = scrape(listening["url"])
        excguard.stdin.close()
        text = excguard.stderr.read() if excguard.stderr else ""
        assert excguard.wait() == 0

    assert more == []
    assert hit["code"] == f"{0x2000020000000000 | port:#x}"
    assert {
        key: hit[key] for key in ("target", "pid", "guard_target", "subcode", "flavor_name", "severity")
    } == {
        "target": "app",
        "pid": pid,
        "guard_target": port,
        "subcode": "0x0",
        "flavor_name": "INVALID_NAME",
        "severity": "optional",
    }
    assert (hit["kernel"], hit["release"], hit["inherited"]) == ("simulated", "macOS 26.4", False)
    labels = {"target": "app", "guard_type": "MACH_PORT", "flavor": "INVALID_NAME", "severity": "optional"}
    assert samples["excguard_hits_total", frozenset(labels.items())] == 1
    assert total(samples, "excguard_hits_total") == 1
    assert total(samples, "excguard_target_up", target="app") == 1
    assert total(samples, "excguard_reply_seconds_count") == 1
    assert f"INVALID_NAME  app (pid {pid})" in text
    assert hit["summary"] in " ".join(text.split())


def test_the_same_kills_a_program_whose_guards_are_fatal(run, tmp_path: Path, program) -> None:
    log = tmp_path / "log"
    deadly = [program[0], "deadly"] if program[-1] == "double_deallocate" else [*program, "deadly"]
    done = run("--log", str(log), "--", *deadly, stdin=subprocess.DEVNULL)

    assert done.returncode == 128 + signal.SIGKILL
    (hit,) = events(log, "guard_hit")
    assert (hit["flavor_name"], hit["severity"]) == ("INVALID_NAME", "optional")
    assert str(hit["pid"]) == done.stdout.split()[0]
    *_, exited, _ = events(log)
    assert exited["event"] == "target_exited"  # after the hit
    assert (exited["reason"], exited["signal"], exited["status"]) == ("killed", signal.SIGKILL, None)


def test_state_behavior_logs_registers(run, tmp_path: Path, child: str) -> None:
    log = tmp_path / "log"
    run(
        *("--behavior", "state_identity_protected", "--log", str(log)),
        *("--", child, "double_deallocate"),
        stdin=subprocess.DEVNULL,
    )

    (hit,) = events(log, "guard_hit")
    assert hit["behavior"] == "state_identity_protected"
    assert int(hit["pc"], 16) > 0
    assert int(hit["sp"], 16) > 0
    assert "lr" in hit


def test_program_that_the_target_starts_is_watched_too_and_marked(run, tmp_path: Path, child: str) -> None:
    log = tmp_path / "log"
    script = f"{child} double_deallocate; exit 5"
    done = run("--name", "shell", "--log", str(log), "--", "sh", "-c", script, stdin=subprocess.DEVNULL)

    assert done.returncode == 5
    (hit,) = events(log, "guard_hit")
    (started,) = events(log, "target_started")
    assert (hit["target"], hit["inherited"]) == ("shell", True)
    assert str(hit["pid"]) == done.stdout.split()[0] != str(started["pid"])


def test_message_that_a_process_forges_is_refused_and_counted(run, tmp_path: Path, child: str) -> None:
    """The C child waits until the right that its message carried has been released."""
    log = tmp_path / "log"
    done = run("--log", str(log), "--", child, "forge")

    assert (done.returncode, done.stdout) == (0, "released\n")
    assert events(log, "guard_hit") == []
    (rejected,) = events(log, "messages_rejected")
    assert (rejected["reason"], rejected["count"]) == ("sender_not_kernel", 1)


def test_message_of_an_insecure_behavior_is_refused_and_counted(run, tmp_path: Path, child: str) -> None:
    log = tmp_path / "log"
    done = run("--log", str(log), "--", child, "insecure")

    assert done.returncode == 0
    assert done.stdout != "0\n"  # not handled
    assert events(log, "guard_hit") == []
    (rejected,) = events(log, "messages_rejected")
    assert (rejected["reason"], rejected["count"]) == ("insecure_behavior", 1)
