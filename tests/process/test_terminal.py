"""A watched program on a terminal is a job like any other: it may read, Ctrl-C and Ctrl-Z are for it."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator

import pytest

# A program on the terminal.
PROGRAM = """
import os, signal
signal.signal(signal.SIGCONT, lambda number, frame: os.write(1, b"continued\\n"))
print("foreground" if os.tcgetpgrp(0) == os.getpgrp() else "background", flush=True)
print("read", input(), flush=True)
while True:
    signal.pause()
"""

# excguard, as far as the terminal is concerned.
SUPERVISE = """
import asyncio, os, sys
from excguard.mach import host
from excguard.config import Restart, Target
from excguard.targets.events import Exited
from excguard.targets.supervisor import Supervisor
def on_event(event):
    if isinstance(event, Exited):
        ours = os.tcgetpgrp(0) == os.getpgrp()
        print("ended", event.exit_status, "taken back" if ours else "not taken back", flush=True)
with Supervisor(host.running(), on_event=on_event) as supervisor:
    program = (sys.executable, "-I", "-S", "-c", sys.argv[1])
    supervisor.add(Target("x", program, restart=Restart.NEVER), foreground=True)
    asyncio.run(supervisor.run())
"""

# A program that uses the terminal on command, whatever its standard input is.
ASKS_LATER = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
print(os.getpid(), flush=True)
signal.sigwait({signal.SIGUSR1})
print("read", open("/dev/tty").readline(), flush=True)
"""

# A pipeline: excguard's output goes to a program that reads from the terminal, too, as a pager does.
PIPELINE = f"""
import os, signal, subprocess, sys
command = [sys.executable, "-c", {SUPERVISE!r}, sys.argv[1]]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as excguard:
    program = int(excguard.stdout.readline())
    print("pager asks", flush=True)
    print("pager read", input(), flush=True)
    os.kill(program, signal.SIGUSR1)
    for line in excguard.stdout:
        print("pager shows", line, end="", flush=True)
"""

# A shell with job control and one job, which it starts in the foreground or, with "&", in the background.
SHELL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
os.tcsetpgrp(0, os.getpgrp())
background, job_script, program = sys.argv[1] == "&", sys.argv[2], sys.argv[3]
job = os.fork()
if not job:
    os.setpgid(0, 0)
    if not background:
        os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, "-c", job_script, program])
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    os.tcsetpgrp(0, os.getpgrp())
    if not os.WIFSTOPPED(status):
        print("job done", flush=True)
        break
    print("job stopped", flush=True)
    input()
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
"""

# No shell at all: excguard leads the session, as in a container.
NO_SHELL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[2:]])
"""


class Person:
    """A user at a terminal."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._seen = ""

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def sees(self, text: str) -> bool:
        """Read until ``text`` appears."""
        while text not in self._seen:
            if not select.select([self._fd], [], [], 30)[0]:
                return False
            try:
                self._seen += os.read(self._fd, 4096).decode()
            except OSError:  # Linux: no process has the terminal open any more
                return False
        self._seen = self._seen.partition(text)[2]
        return True


@pytest.fixture
def sit(mach_environ: dict[str, str]) -> Iterator:
    """Start something on a terminal, and sit down before it."""
    ours, theirs = os.openpty()
    started = []

    def start(shell: str, mode: str = "", job: str = SUPERVISE, program: str = PROGRAM) -> Person:
        process = subprocess.Popen(
            [sys.executable, "-c", shell, mode, job, program],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, **mach_environ},
        )
        started.append(process)
        os.close(theirs)
        return Person(ours)

    yield start
    os.close(ours)
    for process in started:
        assert process.wait() is not None


def test_the_program_has_the_terminal_and_gives_it_back(sit) -> None:
    person = sit(SHELL)

    assert person.sees("foreground")
    person.type("a line\n")
    assert person.sees("read a line")
    person.type("\x03")
    assert person.sees("ended 130 taken back")
    assert person.sees("job done")


def test_ctrl_z_stops_the_job_and_fg_goes_on(sit) -> None:
    person = sit(SHELL)

    assert person.sees("foreground")
    person.type("\x1a")
    assert person.sees("job stopped")
    person.type("fg\n")
    assert person.sees("continued")
    person.type("a line\n")
    assert person.sees("read a line")
    person.type("\x1a")
    assert person.sees("job stopped")
    person.type("fg\n")
    assert person.sees("continued")
    person.type("\x1c")
    assert person.sees("ended 131 taken back")
    assert person.sees("job done")


def test_a_job_in_the_background_leaves_the_terminal_alone_until_fg(sit) -> None:
    person = sit(SHELL, "&")

    assert person.sees("background")
    # It reads, and is stopped for it.
    assert person.sees("job stopped")
    person.type("fg\n")
    assert person.sees("continued")
    person.type("a line\n")
    assert person.sees("read a line")
    person.type("\x03")
    assert person.sees("ended 130 taken back")


def test_without_a_shell_nothing_can_stop_the_program(sit) -> None:
    person = sit(NO_SHELL)

    assert person.sees("foreground")
    person.type("\x1a")
    person.type("a line\n")
    assert person.sees("read a line")
    person.type("\x03")
    assert person.sees("ended 130 taken back")


def test_in_a_pipeline_a_pager_keeps_the_terminal_until_the_program_asks_for_it(sit) -> None:
    person = sit(SHELL, job=PIPELINE, program=ASKS_LATER)

    assert person.sees("pager asks")
    person.type("a line\n")
    assert person.sees("pager read a line")
    person.type("another\n")
    assert person.sees("pager shows read another")
    assert person.sees("pager shows ended 0 taken back")
    assert person.sees("job done")


def test_without_a_terminal_nothing_happens() -> None:
    script = """
from excguard.process.terminal import Terminal
terminal = Terminal()
print(terminal.lend(1, asked=True), terminal.present)
terminal.take_back()
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, start_new_session=True, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("False False\n", "")
