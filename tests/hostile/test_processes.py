"""Programs that abuse numbers of processes, stop the guardian or trace it: no other program is harmed."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from excguard.config import Restart, Target
from excguard.mach.host import Host
from excguard.targets.events import Event, Exited, ExitReason, GroupEnded, NotEnded
from excguard.targets.supervisor import Supervisor
from tests.support.waiting import has_ended, until, wait_until

NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")


def namespaces() -> bool:
    """Whether a process may make a pid namespace, in which it chooses the next number."""
    command = [*NAMESPACE, "sh", "-c", "echo 100 > /proc/sys/kernel/ns_last_pid"]
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    return False


# What the scripts in a namespace share. A program leads a group of its own, with as many other members as its
# argument says, and leaves a process in the guardian's group that ignores SIGTERM, so that the guardian waits
# between the two signals.
SHARED = """
import os, signal, sys, time

PROGRAM = '''
import os, signal, sys, time
if not os.fork():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)
    time.sleep(3600)
os.setpgid(0, 0)
for _ in range(int(sys.argv[1])):
    if not os.fork():
        time.sleep(3600)
{then}
'''

def innocent_as(number):
    "Start an innocent program that leads a group, with this number if it is free; its real number."
    for _ in range(50):
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(number - 1))
        pid = os.fork()
        if not pid:
            os.setpgid(0, 0)
            time.sleep(3600)
        if pid == number:
            break
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            continue
        return 0  # another process has it
    os.setpgid(pid, pid)
    return pid

def alive(pid):
    return os.waitpid(pid, os.WNOHANG) == (0, 0)
"""

SUPERVISE = """
import asyncio
from excsim import Kernel
with Kernel() as kernel:
    os.environ.update(kernel.environ)
    from excguard.config import Restart, Target
    from excguard.mach import host
    from excguard.targets.events import Exited, GroupEnded
    from excguard.targets.supervisor import Supervisor
    taken = []
    pid = []
    def on_event(event):
        if type(event).__name__ == "Started":
            pid.append(event.pid)
            asyncio.get_running_loop().create_task(take())
        elif type(event).__name__ == "Exited":
            print("exited", event.status, flush=True)
    async def take():
        "Take the program's number as soon as it is a number of nothing that lives."
        while True:
            try:
                with open(f"/proc/{pid[0]}/stat") as stat:
                    if stat.read().rpartition(")")[2].split()[0] == "Z":
                        break
            except FileNotFoundError:
                break
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)  # the supervisor has handled its end
        taken.append(innocent_as(pid[0]))
    command = (sys.executable, "-I", "-S", "-c", PROGRAM.format(then=""), sys.argv[1])
    with Supervisor(host.running(), on_event=on_event) as supervisor:
        supervisor.add(Target("x", command, restart=Restart.NEVER, stop_timeout=0.5))
        asyncio.run(supervisor.run())
    print("taken", bool(taken[0]), "alive", not taken[0] or alive(taken[0]))
"""

# The supervisor is killed; who starts this script reaps the program, as the init process of a system.
KILLED = """
from excguard.process.guardian import ProcessGroup
import ctypes
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become ours
reading, writing = os.pipe()
holder = os.fork()
if not holder:
    group = ProcessGroup(0.5)
    program = PROGRAM.format(then="time.sleep(3600)")
    said, say = os.pipe()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-c", program, "0"], os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, say, 1)], setpgroup=group.number)
    group.register(pid)
    os.read(said, 100)
    while os.getpgid(pid) != pid:
        time.sleep(0.001)
    time.sleep(0.05)  # the guardian has read the number
    os.write(writing, f"{group.number} {pid}".encode())
    signal.pause()
guardian, program = map(int, os.read(reading, 100).split())
os.kill(holder, signal.SIGKILL)
os.waitpid(holder, 0)
assert os.waitpid(program, 0) == (program, signal.SIGTERM)
innocent = innocent_as(program)
while os.waitpid(-1, 0)[0] != guardian:
    pass
print("taken", innocent == program, "alive", alive(innocent))
"""


def in_a_namespace(script: str, *arguments: str) -> str:
    """Run a script as the first process of a pid namespace; what it prints."""
    if not namespaces():
        pytest.skip("pid namespaces are not permitted here")
    code = SHARED + textwrap.dedent(script)
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_number_that_went_to_another_program_is_not_signalled() -> None:
    assert in_a_namespace(SUPERVISE, "0").splitlines()[1:] == ["exited 0", "taken True alive True"]


def test_the_number_of_a_group_with_members_stays_taken_until_they_have_ended() -> None:
    assert in_a_namespace(SUPERVISE, "1").splitlines()[1:] == ["exited 0", "taken False alive True"]


def test_the_guardian_of_a_killed_supervisor_spares_the_program_that_has_the_number_now() -> None:
    assert in_a_namespace(KILLED).splitlines()[-1] == "taken True alive True"


def supervise(host: Host, code: str, directory: Path) -> list[Event]:
    """Run a program until it has made the file "ready", then stop it; what was reported."""
    events: list[Event] = []

    async def main() -> None:
        with Supervisor(host, on_event=events.append) as supervisor:
            command = (sys.executable, "-I", "-S", "-c", code)
            target = Target("x", command, directory=str(directory), restart=Restart.NEVER, stop_timeout=0.05)
            supervisor.add(target)
            running = asyncio.ensure_future(supervisor.run())
            await until((directory / "ready").exists)
            supervisor.stop()
            await running

    asyncio.run(asyncio.wait_for(main(), 60))
    return events


STOPS = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
guardian = os.getpgrp()
if not os.fork():
    while True:
        os.kill(guardian, signal.SIGSTOP)
open("ready", "w").close()
time.sleep(3600)
"""

# PTRACE_ATTACH stops a process; no signal but SIGKILL reaches it then, and its parent cannot reap it.
TRACES = """
import ctypes, os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
traced = os.getpgrp() if {guardian} else os.getpid()
tracer = os.fork()
if not tracer:
    if {leaves}:
        os.setsid()
    result = ctypes.CDLL(None).ptrace(16, traced, 0, 0)
    pathlib.Path("tracer").write_text(str(os.getpid()))
    pathlib.Path("ready").write_text(str(result))
time.sleep(3600)
"""


def test_a_guardian_that_is_stopped_again_and_again_does_not_keep_the_supervisor(
    host: Host, tmp_path: Path
) -> None:
    events = supervise(host, STOPS, tmp_path)

    (exited,) = (event for event in events if isinstance(event, Exited))
    assert (exited.signal, exited.reason) == (signal.SIGKILL, ExitReason.STOPPED)
    assert not any(isinstance(event, NotEnded) for event in events)
    assert isinstance(events[-1], GroupEnded)


@pytest.mark.skipif(sys.platform != "linux", reason="ptrace as Linux has it")
@pytest.mark.parametrize("guardian", [True, False])
@pytest.mark.parametrize("leaves", [True, False])
def test_a_process_that_is_traced_does_not_keep_the_supervisor(
    host: Host, tmp_path: Path, *, guardian: bool, leaves: bool
) -> None:
    code = TRACES.format(guardian=guardian, leaves=leaves)
    events = supervise(host, code, tmp_path)
    if (tmp_path / "ready").read_text() != "0":
        pytest.skip("tracing is not permitted here")

    (exited,) = (event for event in events if isinstance(event, Exited))
    assert (exited.signal, exited.reason) == (signal.SIGKILL, ExitReason.STOPPED)
    # A tracer outside of the group keeps what it traces, until it ends itself.
    assert any(isinstance(event, NotEnded) for event in events) == leaves
    assert isinstance(events[-1], GroupEnded)
    tracer = int((tmp_path / "tracer").read_text())
    with contextlib.suppress(ProcessLookupError):
        os.kill(tracer, signal.SIGKILL)
    wait_until(lambda: has_ended(tracer))
