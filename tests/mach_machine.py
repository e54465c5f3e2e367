"""A Mach kernel for tests: the simulated one, built with sanitizers, or that of the Mac under the tests.

Shared by tests/mach, which runs on both, and tests/sim. C programs are built once for all workers of a run.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from excguard import sim

if TYPE_CHECKING:
    from collections.abc import Iterable

_TESTS = Path(__file__).parent
_SOURCES = _TESTS.parent / "daemon" / "excguard"
_PROGRAMS = [*_TESTS.glob("mach/programs/*.c")]
_FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", "-g"]
_FLAGS += ["-Wno-deprecated-declarations"]  # misusing what should not be used is the point
_FLAGS += [f"-I{_TESTS / 'mach' / 'programs'}"]
if sys.platform != "darwin":
    _FLAGS += ["-D_GNU_SOURCE"]
    _PROGRAMS += _TESTS.glob("sim/programs/*.c")


def build(factory: pytest.TempPathFactory) -> Path:
    """The directory of the test programs and, where there is no Mach, of the kernel ``excsim-kernel``."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    directory = base / "mach-programs"
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "done").exists():
            compiler = (
                os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
            )
            if compiler is None:
                pytest.skip("needs a C compiler")
            _build_programs(compiler, directory)
            if sys.platform != "darwin":
                _build_kernel(compiler, directory)
            (directory / "done").touch()
    return directory


def _build_programs(compiler: str, directory: Path) -> None:
    simulator = [f"-I{sim.INCLUDE}", str(sim.LIBRARY), "-pthread"] if sys.platform != "darwin" else []
    for program in _PROGRAMS:
        command = [compiler, *_FLAGS, str(program), *simulator, "-o", str(directory / program.stem)]
        subprocess.run(command, check=True)


def _build_kernel(compiler: str, directory: Path) -> None:
    """Builds it with the sanitizers, so that it ends with an error if it did or left anything wrong."""
    generator = _SOURCES / "knowledge" / "generate_c.py"
    subprocess.run([sys.executable, generator, directory / "guard_table.h"], check=True)
    kernel = _SOURCES / "sim"
    command = [compiler, *_FLAGS, "-O1", "-fno-omit-frame-pointer", "-DEXCSIM_EVERY_ARCHITECTURE"]
    command += [
        f"-I{kernel}",
        f"-I{kernel / 'include'}",
        f"-I{directory}",
        *map(str, kernel.glob("kernel/*.c")),
    ]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    output = ["-o", str(directory / "excsim-kernel")]
    if subprocess.run([*command, *sanitizers, *output], check=False, capture_output=True).returncode:
        subprocess.run([*command, *output], check=True)  # a compiler without the sanitizers' libraries


class Machine:
    """A kernel and the test programs that run on it."""

    def __init__(self, kernel: sim.Kernel | None, built: Path) -> None:
        """Takes a simulated kernel, or None for this machine's own."""
        self.kernel = kernel
        self._built = built

    def program(self, name: str) -> str:
        """The path of a test program."""
        return str(self._built / name)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of programs that belong to the kernel."""
        return dict(os.environ) if self.kernel is None else self.kernel.environ

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Starts a test program with pipes."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        arguments = [self.program(command[0]), *command[1:]]
        return subprocess.Popen(arguments, env=self.environ, text=True, **{**pipes, **options})

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a test program to its end."""
        process = self.start(*command)
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def watch(self, *command: str, options: Iterable[str] = ()) -> Watched:
        """Runs a test program with an exception port of the watch program's."""
        done = self.run("watch", *options, "--", self.program(command[0]), *command[1:])
        assert done.returncode == 0, done.stdout + done.stderr
        return Watched([json.loads(line) for line in done.stdout.splitlines()])

    def inspect(self) -> dict[str, Any]:
        """What the simulated kernel holds and what ReportCrash would have written."""
        return json.loads(self.run("inspect").stdout)

    def stop(self) -> None:
        """Ends the simulated kernel, which must end well."""
        if self.kernel is not None:
            assert self.kernel.stop() == 0, "the kernel found a mistake of its own: see stderr"


class Watched:
    """What the watch program saw."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        """Takes its lines; it must not have leaked a port name."""
        self.messages = [line for line in lines if line.get("event") == "message"]
        (self.exit,) = [line for line in lines if line.get("event") == "exit"]
        (leaked,) = [line for line in lines if line.get("event") == "leaked"]
        assert leaked["names"] == 0
        self.said = [line for line in lines if "event" not in line]
        self.port = next((line["port"] for line in self.said if "port" in line), None)
        self.result = next((line["result"] for line in self.said if "result" in line), None)

    @property
    def hits(self) -> list[tuple[int, int]]:
        """Code and subcode of each message."""
        return [(message["code"], message["subcode"]) for message in self.messages]
