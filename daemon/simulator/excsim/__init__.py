"""A user-space stand-in for the Mach kernel, for machines that have none.

`Kernel` is one simulated kernel: a process that owns port name spaces, messages and exceptions. Programs
that were built against the client library (`python -m excsim --cflags --libs`) belong to the kernel
that the environment variable ``EXCSIM_SOCKET`` names, and their children with them.

Simulated is what excguard and its tests need. Not simulated: vouchers, corpses, importance, kqueue; messages
of more than 64 KB with what they carry out of line. Of the registers an exception shows the program counter,
stack and frame pointers of the call; the others read as 0. A process that never called the kernel is known
only from its descendants: one that calls when all its ancestors have ended counts as a child of launchd.
"""

import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

SOCKET_VARIABLE: Final = "EXCSIM_SOCKET"


def _installed(name: str) -> Path:
    """A file of this package; with an editable install, what was built lies in another directory."""
    places = [Path(place) / name for place in __path__]
    return next((place for place in places if place.exists()), places[0])


KERNEL_PROGRAM: Final = _installed("bin/excsim-kernel")
INCLUDE: Final = _installed("include")
LIBRARY: Final = _installed("lib/libexcsim.a")

# sun_path of sockaddr_un, its NUL included.
_SOCKET_PATH_MAX: Final = 108


class KernelError(RuntimeError):
    """The simulated kernel could not be started; the text says why."""


class Kernel:
    """One simulated kernel, until `stop`, the end of its ``with`` block, or the end of this process.

    ::

        with Kernel(release="15.5") as kernel:
            subprocess.run(["./program"], env=kernel.environ)
    """

    def __init__(
        self,
        *,
        release: str = "26.4",
        developer_mode: bool = True,
        task_exc_guard: int | None = None,
        arch: str | None = None,
        port_table_size: int | None = None,
    ) -> None:
        """Start it.

        Args:
            release: the macOS that is simulated: from ``"10.9"`` on.
            developer_mode: without it fatal guards reach no handler (macOS 14.1 and later).
            task_exc_guard: the ``TASK_EXC_GUARD_`` flags that new tasks start with; None for delivered and
                not fatal. On macOS those that are not Apple's start with 0. A task may take back its
                ``DELIVER`` flags if they are these; else flags only grow, since 12.0.
            arch: ``"x86_64"`` or ``"arm64"``; None for this machine's.
            port_table_size: how many port names a task has room for, 256 to 65536; None for 65536. On macOS
                12 and later a task that needs more is ended.

        Raises:
            KernelError: it cannot be started.
            ValueError: an invalid argument; the text says what is allowed.
        """
        _check(release, task_exc_guard, arch, port_table_size)
        if not KERNEL_PROGRAM.exists():
            raise KernelError(
                f"{KERNEL_PROGRAM} is missing: this build has no simulator (on macOS none is needed)"
            )
        command = [str(KERNEL_PROGRAM), "--release", release]
        if not developer_mode:
            command.append("--no-developer-mode")
        if task_exc_guard is not None:
            command += ["--task-exc-guard", str(task_exc_guard)]
        if arch is not None:
            command += ["--arch", arch]
        if port_table_size is not None:
            command += ["--port-table-size", str(port_table_size)]
        self._directory: Path | None = _private_directory()
        self.socket = str(self._directory / "socket")
        try:
            self._process = _start(command, self.socket)
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise

    @property
    def pid(self) -> int:
        """The process id of the kernel."""
        return self._process.pid

    @property
    def environ(self) -> dict[str, str]:
        """This process's environment, and in it this kernel: for children that are to belong to it."""
        return {**os.environ, SOCKET_VARIABLE: self.socket}

    def stop(self) -> int:
        """End it, and with it every port; safe to call again.

        Returns:
            Its exit status: 0, or the negative number of the signal that ended it.
        """
        if self._directory is not None:
            self._process.terminate()
            self._process.wait()
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
        status = self._process.returncode
        return 0 if status == -signal.SIGTERM else status  # it was stopped before it had begun

    def __enter__(self) -> Self:
        """Use it for the length of a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


_embedded: Kernel | None = None


def start_if_needed() -> None:
    """Start a simulated kernel that ends with this process, unless the environment names one.

    Raises:
        KernelError: see `Kernel`.
    """
    global _embedded  # noqa: PLW0603 (it has to live as long as this process)
    if os.environ.get(SOCKET_VARIABLE):
        return
    _embedded = Kernel()
    os.environ[SOCKET_VARIABLE] = _embedded.socket
    atexit.register(_stop_embedded, os.getpid())


def _stop_embedded(pid: int) -> None:
    if _embedded is not None and os.getpid() == pid:  # not in a child that was forked off
        _embedded.stop()


def _private_directory() -> Path:
    """A directory of this user alone, whose path leaves room for a socket's name."""
    directory = Path(tempfile.mkdtemp(prefix="excsim-"))
    if len(os.fsencode(directory / "socket")) < _SOCKET_PATH_MAX:
        return directory
    directory.rmdir()
    return Path(tempfile.mkdtemp(prefix="excsim-", dir="/tmp"))  # private all the same


def _start(command: list[str], path: str) -> "subprocess.Popen[bytes]":
    """Start the kernel on a socket that already listens, so that clients need not wait for it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(128)
        command += ["--listen-fd", str(listener.fileno()), "--socket", path, "--starter", str(os.getpid())]
        try:
            return subprocess.Popen(  # noqa: S603 (our own program)
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # a terminal's ^C is for the programs, not for their kernel
            )
        except OSError as error:
            raise KernelError(f"{command[0]}: {error.strerror}") from error


def _check(release: str, task_exc_guard: int | None, arch: str | None, port_table_size: int | None) -> None:
    numbers = re.fullmatch(r"(\d{1,2})\.(\d{1,2})(\.\d{1,2})?", release)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < (10, 9):
        raise ValueError(
            f"invalid release {release!r}: macOS 10.9 or later can be simulated, for example 26.4"
        )
    if task_exc_guard is not None and not 0 <= task_exc_guard <= 0xFF:
        raise ValueError(f"invalid TASK_EXC_GUARD_ flags {task_exc_guard:#x}: 0 to 0xff")
    if arch not in {None, "x86_64", "arm64"}:
        raise ValueError(f"invalid architecture {arch!r}: x86_64 or arm64")
    if port_table_size is not None and not 256 <= port_table_size <= 65536:
        raise ValueError(f"invalid size of a port table {port_table_size}: 256 to 65536")
