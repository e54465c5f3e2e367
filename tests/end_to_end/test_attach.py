"""`excguard attach`: hits of a process that runs already, and everything put back afterwards."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.harness import EXCGUARD, events
from tests.support.waiting import wait_until

HERE = Path(__file__).parent


class Waiting:
    """A process that follows commands; see waiting.py."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "waiting.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            text=True,
        )
        self.pid = int(self.process.stdout.readline())

    def command(self, word: str) -> str:
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture
def waiting(kernel):
    process = Waiting(kernel.environ)
    yield process
    process.end()


@pytest.fixture
def attach(kernel, tmp_path: Path):
    """Starts `excguard attach` and waits until it is attached."""
    started = []

    def start(pid: int, *arguments: str) -> tuple[subprocess.Popen, Path]:
        log = tmp_path / f"attach{len(started)}.jsonl"
        process = subprocess.Popen(
            [*EXCGUARD, "attach", "--log", str(log), *arguments, str(pid)],
            env=kernel.environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        wait_until(lambda: events(log, "target_attached") or process.poll() is not None)
        return process, log

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def test_hits_are_reported_and_the_old_handler_comes_back(waiting: Waiting, attach) -> None:
    own = waiting.command("handler")
    process, log = attach(waiting.pid, "--name", "it")
    assert events(log, "target_attached")[0]["replaced_handler"] is True
    assert waiting.command("handlers") != own
    waiting.command("double_deallocate")
    (hit,) = wait_until(lambda: events(log, "guard_hit"))
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=60)

    assert process.returncode == 0
    assert (hit["target"], hit["pid"], hit["flavor_name"], hit["inherited"]) == (
        "it",
        waiting.pid,
        "INVALID_NAME",
        False,
    )
    assert output.startswith(f"excguard: attached to it (pid {waiting.pid}); Ctrl-C detaches\n")
    assert "1 guard hit in it while attached" in output
    assert waiting.command("handlers") == own


def test_no_handler_before_is_no_handler_after(waiting: Waiting, attach) -> None:
    assert waiting.command("handlers") == "none"
    process, log = attach(waiting.pid)
    assert waiting.command("handlers") != "none"
    process.terminate()
    assert process.wait(60) == 0

    assert events(log, "target_attached")[0]["replaced_handler"] is False
    assert events(log, "target_attached")[0]["target"].startswith("python")
    assert waiting.command("handlers") == "none"


def test_attach_ends_with_the_process(waiting: Waiting, attach) -> None:
    process, log = attach(waiting.pid, "--json")
    waiting.end()
    _, output = process.communicate(timeout=60)

    assert process.returncode == 0
    assert json.loads(output.splitlines()[-1])["event"] == "service_stopped"
    assert not events(log, "detach_failed")


def test_process_goes_on_when_excguard_is_killed(waiting: Waiting, attach) -> None:
    """Its port has died with it, and the kernel goes on to the next handler."""
    process, _ = attach(waiting.pid)
    process.kill()
    process.wait()

    assert waiting.command("double_deallocate") == "did double_deallocate"
    assert waiting.command("handlers") == "none"


def test_what_is_forbidden_is_explained(attach, kernel) -> None:
    done = subprocess.run(
        [*EXCGUARD, "attach", "4194304"], env=kernel.environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 125
    assert done.stderr.startswith(
        "excguard: cannot attach to 4194304: KERN_FAILURE: there is no such process"
    )
    assert done.stderr.count("\n") == 1
    assert "excguard run" in done.stderr


def test_consume_with_state_is_refused(kernel) -> None:
    done = subprocess.run(
        [*EXCGUARD, "attach", "--behavior", "state_identity_protected", "--reply", "consume", "1"],
        env=kernel.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "state back" in done.stderr
