"""A supervisor that is killed at any moment leaves no process behind."""

import os
import subprocess
import sys
from pathlib import Path

ROUNDS = 30

# Supervises restless targets in a child of its own, kills it at a random moment, and waits until no process
# that it started is left. Programs are known by an odd number of seconds, guardians by an odd grace.
SCRIPT = """
import asyncio, os, random, signal, subprocess, sys, time
from excguard.mach import host
from excguard.config import Restart, Target
from excguard.targets.supervisor import Supervisor

SECONDS = "3600." + str(random.randrange(10**9, 10**10))
ODD = ("sleep " + SECONDS, "excguard-guardian 73")

def left():
    listing = subprocess.run(["ps", "-axo", "pid=,stat=,args="], capture_output=True, text=True).stdout
    lines = [line.split(None, 2) for line in listing.splitlines()]
    return {
        int(pid): args
        for pid, state, args in lines
        if int(pid) != os.getpid() and state[0] != "Z" and any(odd in args for odd in ODD)
    }

def supervise():
    def program(name, text):
        return Target(
            name,
            ("/bin/sh", "-c", text.format(SECONDS)),
            restart=Restart.ALWAYS,
            restart_delay=0,
            restart_delay_max=0,
            stop_timeout=0.073,
        )
    with Supervisor(host.running(), on_event=lambda event: None) as supervisor:
        supervisor.add(program("fleeting", "sleep {} & exit 1"))
        supervisor.add(program("deaf", "trap '' TERM; (sleep {}) & sleep 0.01"))
        supervisor.add(program("staying", "sleep {}"))
        asyncio.run(supervisor.run())

seed = random.randrange(10**6)
random.seed(seed)
seen = 0
for turn in range(int(sys.argv[1])):
    pid = os.fork()
    if not pid:
        supervise()
    time.sleep(random.uniform(0.005, 0.08))
    seen += len(left()) if turn % 10 == 0 else 0
    os.kill(pid, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL, seed
    until = time.monotonic() + 20
    while remaining := left():
        if time.monotonic() > until:
            for orphan in remaining:
                os.kill(orphan, signal.SIGKILL)
            sys.exit(f"seed {seed}, turn {turn}: {remaining}")
        time.sleep(0.005)
print("seen" if seen else "nothing ran")
"""


def test_nothing_outlives_a_supervisor_that_was_killed(mach_environ: dict[str, str], tmp_path: Path) -> None:
    # A file, not a pipe: orphans would hold that open.
    with (tmp_path / "output").open("w+") as output:
        status = subprocess.call(
            [sys.executable, "-c", SCRIPT, str(ROUNDS)],
            env={**os.environ, **mach_environ},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        output.seek(0)

        assert (status, output.read()) == (0, "seen\n")
