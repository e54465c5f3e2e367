"""The machine that `excguard doctor` asks: what runs here, what may be written, who listens where."""

import contextlib
import errno
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Protocol

from excguard.files import errors
from excguard.launchd.launchctl import Answer
from excguard.mach import host as mach_host
from excguard.mach import processes, tasks
from excguard.mach.errors import MachError
from excguard.mach.host import Host

# A command of the system that has not answered after so many seconds will not.
_PATIENCE = 10.0


class System(Protocol):
    """What the probes ask."""

    host: Host
    uid: int
    home: Path

    def run(self, *command: str) -> Answer | None:
        """Run a program of the system; None where there is no such program."""

    def taken(self, host: str, port: int) -> str | None:
        """Why it is not possible to listen there now; None when one can."""

    def answers(self, host: str, port: int) -> bool:
        """Whether an excguard listens there."""

    def unwritable(self, directory: Path) -> str | None:
        """Why no file can be made in a directory (or made along with it); None when one can."""

    def unreadable(self, directory: Path) -> str | None:
        """Why the files of a directory cannot be listed; None when they can, or it does not exist."""

    def path_of(self, pid: int) -> str:
        """The path of a process's program; empty when it is not known."""

    def task_for_pid(self, pid: int) -> str | None:
        """The error that the kernel refuses a task port with; None when it would give one."""


class Machine:
    """This machine."""

    def __init__(self) -> None:
        """Ask the kernel what it is. Raises OSError."""
        self.host = mach_host.running()
        self.uid = os.geteuid()
        self.home = Path.home()

    def run(self, *command: str) -> Answer | None:
        """See `System`. A program that does not end counts as one that is not there."""
        # Where macOS keeps them; whoever runs doctor as root should not have to trust PATH.
        program = shutil.which(command[0], path="/usr/bin:/bin:/usr/sbin:/sbin")
        if program is None:
            return None
        try:
            done = subprocess.run(  # noqa: S603 - our own arguments, no shell
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_PATIENCE,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return Answer(done.returncode, done.stdout, done.stderr)

    def taken(self, host: str, port: int) -> str | None:
        """See `System`."""
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as listener:
                # As the endpoint does: a port that a closed connection lingers on can be had.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "taken by another program"
            return errors.reason(error)
        return None

    def answers(self, host: str, port: int) -> bool:
        """See `System`: excguard's own page says its name."""
        with contextlib.suppress(OSError), socket.create_connection((host, port), 1.0) as connection:
            connection.settimeout(1.0)
            connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
            got = b""
            while b"excguard_build_info" not in got:
                more = connection.recv(65536)
                if not more or len(got) > 4_000_000:
                    return False
                got = got[-64:] + more
            return True
        return False

    def unwritable(self, directory: Path) -> str | None:
        """See `System`."""
        existing = directory
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        if not existing.is_dir():
            return f"{existing} is not a directory"
        return None if os.access(existing, os.W_OK | os.X_OK) else "no permission to write"

    def unreadable(self, directory: Path) -> str | None:
        """See `System`."""
        return (
            "no permission to read"
            if directory.exists() and not os.access(directory, os.R_OK | os.X_OK)
            else None
        )

    def path_of(self, pid: int) -> str:
        """See `System`."""
        return processes.path(pid)

    def task_for_pid(self, pid: int) -> str | None:
        """See `System`. The port is given back at once."""
        try:
            tasks.control_port(pid).close()
        except MachError as error:
            return error.name
        return None
