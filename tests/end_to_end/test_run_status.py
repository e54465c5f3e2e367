"""`excguard run` from the outside: whose exit status it has, what goes where, how it ends."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from excguard.knowledge import flavors, releases
from tests.support.harness import EXCGUARD, events
from tests.support.samples import DESTROY, INVALID_NAME
from tests.support.waiting import wait_until

SOFT = "0x2010000600002703"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--", "true"], 0),
        (["--", "sh", "-c", "exit 7"], 7),
        (["--", "sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
        (["--", "sh", "-c", "kill -KILL $$"], 128 + signal.SIGKILL),
        (["--", "/nowhere/program"], 125),
        (["--", "no-program-of-this-name"], 125),
        (["--log", "/nowhere/log", "--", "true"], 125),
        (["--config", "/nowhere/excguard.toml", "--", "true"], 2),
        (["--fail-on", "sometimes", "--", "true"], 2),
        (["--reply", "consume", "--behavior", "state_identity_protected", "--", "true"], 2),
        (["--metrics", "nonsense", "--", "true"], 2),
        (["--no-such-option", "--", "true"], 2),
        ([], 2),
    ],
)
def test_exit_status(run, arguments: list[str], status: int) -> None:
    done = run(*arguments)

    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    if status in (2, 125):
        last = done.stderr.splitlines()[-1]
        assert last.startswith("excguard: ")
        if status == 2:
            assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("fail_on", "code", "expected"),
    [
        ("never", hex(DESTROY), 128 + signal.SIGKILL),
        ("fatal", hex(DESTROY), 3),
        ("fatal", hex(INVALID_NAME), 0),
        ("optional", hex(INVALID_NAME), 3),
        ("optional", SOFT, 0),
        ("soft", SOFT, 3),
        ("soft", None, 0),
    ],
)
def test_fail_on(run, child: str, fail_on: str, code: str | None, expected: int) -> None:
    program = [child, "raise", code, "1"] if code else ["true"]
    done = run("--fail-on", fail_on, "--", *program)

    assert done.returncode == expected, done.stderr


def test_streams_are_the_programs_own(run) -> None:
    done = run("--", "sh", "-c", "cat; echo words >&2", input="line\n")

    assert done.stdout == "line\n"
    assert "words\n" in done.stderr
    assert done.stderr.endswith("excguard: no guard hits in sh.\n")


def test_closing_table_counts_and_explains(run, child: str) -> None:
    done = run("--", child, "raise", hex(INVALID_NAME), "25")
    text = " ".join(done.stderr.split())

    assert "excguard: 25 guard hits in child" in text
    assert "INVALID_NAME" in text
    assert "Fix:" in text
    assert "\x1b" not in done.stderr  # no terminal, no colors


def test_json_lines_on_standard_error_end_with_the_summary(run, child: str) -> None:
    done = run("--json", "--fail-on", "soft", "--", child, "raise", hex(INVALID_NAME), "25")
    *lines, summary = [json.loads(line) for line in done.stderr.splitlines()]

    whole = [line for line in lines if line["event"] == "guard_hit"]
    counted = [line for line in lines if line["event"] == "guard_hits_suppressed"]
    assert len(whole) + sum(line["count"] for line in counted) == 25
    assert summary["event"] == "run_summary"
    assert (summary["hits"], summary["exit_status"], summary["program_status"]) == (25, 3, 0)
    (site,) = summary["sites"]
    assert (site["flavor_name"], site["hits"]) == ("INVALID_NAME", 25)
    assert done.stdout == ""


@pytest.mark.parametrize("program", ["/nowhere/program", "no-program-of-this-name", "/", "/etc/passwd"])
def test_program_that_cannot_be_started_is_reported_once(run, tmp_path: Path, program: str) -> None:
    log, report, junit = tmp_path / "log", tmp_path / "report", tmp_path / "junit"
    done = run("--log", str(log), "--report", str(report), "--junit", str(junit), "--", program)
    (failed,) = events(log, "target_start_failed")

    assert done.returncode == 125
    assert done.stderr == f"excguard: cannot start {failed['error']}\n"
    assert failed["error"].startswith(f"{program}: ")
    outcome = json.loads(report.read_text())
    assert (outcome["exit_status"], outcome["program_status"]) == (125, None)
    assert outcome["error"] == f"cannot start {failed['error']}"
    assert 'errors="1"' in junit.read_text()


def test_program_that_cannot_be_started_is_reported_in_json(run) -> None:
    done = run("--json", "--", "/nowhere/program")
    *lines, summary = [json.loads(line) for line in done.stderr.splitlines()]

    assert done.returncode == 125
    assert [line["error"] for line in lines if line["level"] == "error"] == [
        "/nowhere/program: no such program; check the path"
    ]
    assert (summary["event"], summary["exit_status"], summary["hits"]) == ("run_summary", 125, 0)
    assert summary["error"] == "cannot start /nowhere/program: no such program; check the path"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--log", "/nowhere/log", "--", "true"], 125),
        (["--report", "/nowhere/report", "--", "true"], 125),
        (["--config", "/nowhere/excguard.toml", "--", "true"], 2),
        (["--metrics", "nonsense", "--", "true"], 2),
    ],
)
def test_what_stops_excguard_is_reported_in_json(run, arguments: list[str], status: int) -> None:
    done = run("--json", *arguments)
    *_, last = [json.loads(line) for line in done.stderr.splitlines()]

    assert done.returncode == status
    assert (last["event"], last["level"]) == ("excguard_error", "error")
    assert "nowhere" in last["error"] or "nonsense" in last["error"]


def test_what_goes_wrong_on_the_way_is_reported_in_json(kernel, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [*EXCGUARD, "run", "--json", "--metrics", where, "--log", "/dev/full", "--", "true"],
            env={**os.environ, **kernel.environ},
            capture_output=True,
            text=True,
            check=False,
        )
    logged = {line["event"]: line for line in map(json.loads, done.stderr.splitlines())}

    assert done.returncode == 0
    assert where in logged["metrics_unavailable"]["error"]
    assert "/dev/full" in logged["excguard_error"]["error"]
    assert "run_summary" in logged


def test_arguments_need_not_be_text(run) -> None:
    done = run("--json", "--", "true", b"\xff\n\x1b[31m")

    assert done.returncode == 0
    assert json.loads(done.stderr.splitlines()[-1])["command"] == ["true", "\\xff\n\x1b[31m"]


def test_hostile_name_is_harmless_on_the_terminal_and_intact_in_the_log(run, child: str, tmp_path) -> None:
    name = '"<script>\x1b]0;owned\x07\n\N{PILE OF POO}'
    log = tmp_path / "log"
    done = run("--name", name, "--log", str(log), "--", child, "raise", hex(INVALID_NAME), "2")

    assert all(line.isprintable() for line in done.stderr.splitlines())
    assert {event["target"] for event in events(log, "guard_hit")} == {name}


def test_internal_error_is_one_line_and_not_the_program_s_status(kernel, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from excguard.cli import main, service_runner\nservice_runner.live = lambda *_: 1 / 0\nmain()"
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "broken.py"), "run", "--metrics", "off", "--", "true"],
        env=kernel.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 125
    assert done.stderr.startswith("excguard: internal error, please report it: ZeroDivisionError")
    assert done.stderr.count("\n") == 1


def test_signals_are_passed_on(kernel, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [*EXCGUARD, "run", "--metrics", "off", "--log", str(log), "--", "sh", "-c", script],
        env={**os.environ, **kernel.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as excguard:
        assert excguard.stdout is not None
        assert excguard.stdout.readline() == "ready\n"
        excguard.send_signal(signal.SIGTERM)
        assert excguard.stdout.read() == "caught\n"
        assert excguard.wait() == 9


def test_nothing_is_left_behind_after_kill_9(kernel, tmp_path: Path) -> None:
    log = tmp_path / "log"
    directory = tmp_path / "tmp"
    directory.mkdir()
    with subprocess.Popen(
        [*EXCGUARD, "run", "--metrics", "off", "--log", str(log), "--", "sh", "-c", "echo $$; sleep 1000"],
        env={**os.environ, **kernel.environ, "TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as excguard:
        assert excguard.stdout is not None
        pid = int(excguard.stdout.readline())
        excguard.kill()
        wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert list(directory.iterdir()) == []


def patched(directory: Path, set_pid: str) -> list[str]:
    """excguard, with something done before the receiver gets the program's process id."""
    (directory / "patched.py").write_text(
        "import os, signal, time\n"
        "from excguard.__main__ import main\n"
        "from excguard.pipeline.receiver import Receiver\n"
        "then = Receiver.set_pid\n"
        "def set_pid(self, target, pid):\n"
        f"    {set_pid}\n"
        "    then(self, target, pid)\n"
        "Receiver.set_pid = set_pid\n"
        "main()\n"
    )
    return [sys.executable, str(directory / "patched.py"), "run", "--reply", "consume", "--metrics", "off"]


def test_very_first_call_is_consumed(kernel, child: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = subprocess.run(
        [
            *patched(tmp_path, "time.sleep(0.3)"),
            "--log",
            str(log),
            "--",
            child,
            "raise",
            hex(INVALID_NAME),
            "1",
        ],
        env={**os.environ, **kernel.environ},
        capture_output=True,
        check=False,
    )
    (hit,) = events(log, "guard_hit")

    assert done.returncode == 0
    assert (hit["reply"], hit["inherited"]) == ("consume", False)


def test_kill_9_before_the_pid_is_known_leaves_no_program_stopped(kernel, tmp_path: Path) -> None:
    die = "open('pid', 'w').write(str(pid)); os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run(
        [*patched(tmp_path, die), "--", "sh", "-c", "echo > begun"],
        env={**os.environ, **kernel.environ},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    pid = (tmp_path / "pid").read_text()

    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: not Path("/proc", pid).exists())
    assert not (tmp_path / "begun").exists()


def test_port_of_the_metrics_taken_is_a_warning(kernel, child: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [
                *EXCGUARD,
                "run",
                "--metrics",
                f"127.0.0.1:{taken.getsockname()[1]}",
                "--",
                "sh",
                "-c",
                "exit 4",
            ],
            env={**os.environ, **kernel.environ},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 4
    assert "excguard: no metrics on 127.0.0.1:" in done.stderr
    assert "the run goes on without" in done.stderr


def test_closed_standard_error_does_not_stop_the_run(kernel, child: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [
                *EXCGUARD,
                "run",
                "--metrics",
                "off",
                "--log",
                str(log),
                "--",
                child,
                "raise",
                hex(INVALID_NAME),
                "3",
            ],
            env={**os.environ, **kernel.environ},
            stderr=write_end,
            check=False,
        )
    finally:
        os.close(write_end)
    assert done.returncode == 0
    assert len(events(log, "guard_hit")) == 3


def test_a_terminal_gets_colors(kernel, child: str) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*EXCGUARD, "run", "--metrics", "off", "--", child, "raise", hex(INVALID_NAME), "1"],
        env={**os.environ, **kernel.environ, "TERM": "xterm", "NO_COLOR": ""},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as excguard:
        os.close(slave)
        text = b""
        try:
            while part := os.read(master, 65536):
                text += part
        except OSError:  # the last holder of the other end is gone
            pass
        os.close(master)
        assert excguard.wait() == 0
    assert b"\x1b[" in text
    assert b"INVALID_NAME" in text


def test_demo_breaks_every_rule_and_explains_each(kernel) -> None:
    done = subprocess.run(
        [*EXCGUARD, "demo", "--json"],
        env={**os.environ, **kernel.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    from excguard.misuse import MISUSES  # noqa: PLC0415 - after the kernel runs

    assert (done.returncode, done.stderr) == (0, "")
    sites = [json.loads(line) for line in done.stdout.splitlines()]
    assert {site["flavor_name"] for site in sites} == {misuse.flavor for misuse in MISUSES.values()}
    assert all(site["hits"] >= 1 and site["advice"] for site in sites)
    for misuse in MISUSES.values():
        (site,) = (site for site in sites if site["flavor_name"] == misuse.flavor)
        assert (site["severity"] == "fatal") == misuse.fatal


def test_demo_that_was_ended_says_so_by_its_status(kernel) -> None:
    with subprocess.Popen(
        [*EXCGUARD, "demo"], env={**os.environ, **kernel.environ}, stdout=subprocess.PIPE
    ) as demo:
        wait_until(lambda: (program := misusing_child(demo.pid)) and not os.kill(program, signal.SIGTERM))
        demo.communicate(timeout=60)

    assert demo.returncode == 128 + signal.SIGTERM


def misusing_child(pid: int) -> int | None:
    """The program that a demo has started, if it is there."""
    listing = subprocess.run(["ps", "-axo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    lines = [line.split(None, 2) for line in listing.stdout.splitlines()]
    found = [child for child, parent, line in lines if parent == str(pid) and "excguard.misuse" in line]
    return int(found[0]) if found else None


def test_demo_lacks_no_guard_that_the_simulator_raises() -> None:
    from excguard.misuse import MISUSES  # noqa: PLC0415 - after the kernel runs

    source = Path(__file__).parents[2] / "daemon" / "simulator" / "kernel" / "guard.c"
    raised = re.findall(r'\] = "kGUARD_EXC_(\w+)"', source.read_text())
    here = {row.name for row in flavors.table() if row.first <= releases.parse_version("26.4") <= row.last}

    # WEAK_REPLY_PORT is raised before 26.4 alone. KOBJECT_REPLY_PORT_SEMANTICS is for calls of the kernel,
    # which libsystem_kernel makes with its own reply port: by no function that the SDK declares.
    not_shown = {"WEAK_REPLY_PORT", "KOBJECT_REPLY_PORT_SEMANTICS"}

    assert len(raised) > 20
    assert {misuse.flavor for misuse in MISUSES.values()} == (here & set(raised)) - not_shown


@pytest.mark.parametrize("name", ["pass_on_weak_reply_port", "have_registers_changed"])
def test_misuse_of_two_programs_can_be_repeated(run, name: str) -> None:
    done = run("--json", "--", sys.executable, "-m", "excguard.misuse", "--times", "2", name)
    (site,) = json.loads(done.stderr.splitlines()[-1])["sites"]

    assert done.returncode == 0
    assert site["hits"] == 2


def test_misuse_runs_alone(run) -> None:
    done = run("--", sys.executable, "-m", "excguard.misuse", "double_deallocate")

    assert done.returncode == 0
    assert "mach_port_deallocate -> KERN_INVALID_NAME" in done.stdout
    assert "INVALID_NAME" in done.stderr
