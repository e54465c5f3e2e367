"""The guardian alone: groups end on command, and when the process that holds it is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from excguard.process import guardian
from excguard.process.guardian import ProcessGroup
from tests.support.waiting import has_ended, wait_until

DEAF = "trap '' TERM; echo; sleep 3600 & wait"
WILLING = "echo; sleep 3600 & wait"

# Starts a program in a group, says the numbers of all, and waits to be killed.
HOLDER = """
import os, sys
from excguard.process.guardian import ProcessGroup
group = ProcessGroup(float(sys.argv[1]))
program = os.posix_spawn("/bin/sh", ["sh", "-c", sys.argv[2]], os.environ, setpgroup=group.number)
group.register(program)
print(group.number, program, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def group() -> Iterator[ProcessGroup]:
    group = ProcessGroup(0.05)
    yield group
    group.end()
    if not group._reaped:
        finish(group)


def start(group: ProcessGroup, text: str, setpgroup: int | None = None) -> int:
    """Start a shell in the group and wait for its first line."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as lines:
        pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", text],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
            setpgroup=group.number if setpgroup is None else setpgroup,
        )
        os.close(writing)
        lines.readline()
    return pid


def finish(group: ProcessGroup) -> int:
    """Wait for the guardian; its exit status."""
    _, status = os.waitpid(group.number, 0)
    group._reaped = True
    return os.waitstatus_to_exitcode(status)


def ended_by(pid: int) -> int:
    """Wait for a child; the signal that ended it."""
    return -os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_an_empty_group_ends_at_once(group: ProcessGroup) -> None:
    group.end()

    assert finish(group) == 0


def test_a_group_gets_a_chance_to_end(group: ProcessGroup) -> None:
    willing = start(group, WILLING)
    group.end()

    assert ended_by(willing) == signal.SIGTERM
    assert finish(group) == 0


def test_who_does_not_take_the_chance_is_killed(group: ProcessGroup) -> None:
    willing = start(group, WILLING)
    deaf = start(group, DEAF)
    group.end()

    assert ended_by(willing) == signal.SIGTERM
    assert ended_by(deaf) == signal.SIGKILL
    assert finish(group) == 1


def test_a_registered_program_is_found_in_a_group_of_its_own(group: ProcessGroup) -> None:
    program = start(group, WILLING, setpgroup=0)
    group.register(program)
    group.end()

    assert ended_by(program) == signal.SIGTERM
    assert finish(group) == 0


def test_signals_to_the_group_are_for_the_others(group: ProcessGroup) -> None:
    willing = start(group, WILLING)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        os.kill(group.number, number)
    os.killpg(group.number, signal.SIGINT)

    assert ended_by(willing) == signal.SIGINT
    assert not group.poll()


def test_a_guardian_that_was_killed_is_noticed(group: ProcessGroup) -> None:
    os.kill(group.number, signal.SIGKILL)
    os.waitid(os.P_PID, group.number, os.WEXITED | os.WNOWAIT)

    assert group.poll()
    with pytest.raises(BrokenPipeError):
        group.register(1)
    group.withdraw()
    group.reap()
    assert not Path(f"/proc/{group.number}").exists()


@pytest.mark.parametrize("text", [WILLING, DEAF, f"({WILLING}) & ({DEAF}) & wait"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_group_ends_when_its_holder_dies_of_anything(text: str, number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, "0.05", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        pids = [int(pid) for pid in holder.stdout.readline().split()]
        holder.send_signal(number)
        # Every process of the group but the guardian has our pipe: it closes with the last of them.
        holder.stdout.read()

        assert holder.wait() == -number
        wait_until(lambda: all(map(has_ended, pids)))


@pytest.mark.parametrize("arguments", [[], ["x"], ["-1"], ["1", "2"], ["1"]])
def test_misuse_is_reported(arguments: list[str]) -> None:
    done = subprocess.run(
        [guardian._program(), *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )

    assert (
        done.returncode,
        done.stderr,
    ) == (2, "usage: excguard-guardian MILLISECONDS, as the leader of a process group\n")
