"""A Mach kernel for tests: the simulated one, built with sanitizers, or that of the Mac under the tests.

Shared by tests/conformance, which runs on both, and tests/simulator. C programs are built once for all
workers of a run.
"""

from __future__ import annotations

import json
import os
import platform
import plistlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from excguard.sources.unified_log import PREDICATE
from tests.support import ROOT, compiler, simulator
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

ARCH = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""Of this machine, by Apple's names."""

_TESTS = ROOT / "tests"
_SOURCES = ROOT / "daemon" / "excguard"
_PROGRAMS = [*_TESTS.glob("conformance/programs/*.c")]
FLAGS = ["-std=c11", *compiler.WARNINGS, "-Wno-missing-field-initializers", "-g"]
FLAGS += ["-Wno-deprecated-declarations"]  # misusing what should not be used is the point
FLAGS += [f"-I{_TESTS / 'conformance' / 'programs'}"]
"""With which a C program of the tests is compiled."""
if sys.platform != "darwin":
    _PROGRAMS += _TESTS.glob("simulator/programs/*.c")


def build(factory: pytest.TempPathFactory) -> Path:
    """The directory of the test programs and, where there is no Mach, of the kernel ``excsim-kernel``."""
    cc = compiler.require()

    def build_all(directory: Path) -> None:
        _build_programs(cc, directory)
        if sys.platform != "darwin":
            _build_kernel(cc, directory)

    return compiler.build_once(factory, "mach-programs", build_all)


def _build_programs(cc: str, directory: Path) -> None:
    for program in _PROGRAMS:
        command = [cc, *FLAGS, *simulator.HEADERS, program, *simulator.LIBRARIES]
        subprocess.run([*command, "-o", directory / program.stem], check=True)


def _build_kernel(cc: str, directory: Path) -> None:
    """Builds it with the sanitizers, so that it ends with an error if it did or left anything wrong."""
    generator = _SOURCES / "knowledge" / "generate_c.py"
    subprocess.run([sys.executable, generator, directory / "guard_table.h"], check=True)
    kernel = _SOURCES.parent / "simulator"
    guard = _SOURCES / "knowledge" / "c_decoder"
    command = [cc, *FLAGS, "-D_GNU_SOURCE", "-O1", "-fno-omit-frame-pointer", "-DEXCSIM_EVERY_ARCHITECTURE"]
    command += [
        f"-I{kernel}",
        f"-I{kernel / 'include'}",
        f"-I{guard}",
        f"-I{directory}",
        *map(str, kernel.glob("kernel/*.c")),
        str(guard / "guard.c"),
    ]
    compiler.compile_sanitized([*command, "-o", directory / "excsim-kernel"])


class Mac(NamedTuple):
    """What decides whether a test is of this Mac's kernel."""

    release: str
    """Of macOS, "26.4"."""
    developer_mode: bool | None
    """None: the release has none."""
    arch: str
    guard_default: int
    """The TASK_EXC_GUARD_ flags that programs which are not Apple's start with."""

    @classmethod
    def this(cls) -> Mac:
        """The one that the tests run on."""
        # TASK_EXC_GUARD_THIRD_PARTY_DEFAULT_SHIFT of mach/task_info.h is 8.
        default = (_sysctl("kern.task_exc_guard_default") or 0) >> 8 & 0xFF
        mode = _sysctl("security.mac.amfi.developer_mode_status")
        return cls(platform.mac_ver()[0], None if mode is None else bool(mode), ARCH, default)


def _sysctl(name: str) -> int | None:
    done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else None


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in release.split("."))


@dataclass(frozen=True)
class Kind:
    """The kernels that a test is of: one is simulated, and a Mac's own is taken if it is of the kind."""

    release: str = "26.4"
    """The macOS that is simulated."""
    since: str = ""
    """The first macOS that the test is of; empty: the simulated one."""
    before: str = ""
    """The first one that it is not of any more; empty: it is of all later ones."""
    developer_mode: bool | None = None
    """None: on or off, it is the same."""
    arch: str | None = None
    """"x86_64" or "arm64"; None: it is the same."""
    guard_default: int = 0
    """The TASK_EXC_GUARD_ flags that programs start with; those of macOS by default."""
    port_table_size: int | None = None
    """How many port names a task has room for in a simulated kernel; a Mac has its own number."""

    def misfit(self, mac: Mac) -> str:
        """Why a Mac's kernel is not of this kind; empty if it is."""
        since = self.since or self.release
        wrong = []
        if _numbers(mac.release) < _numbers(since):
            wrong.append(f"macOS {since} and later, not {mac.release}")
        if self.before and _numbers(mac.release) >= _numbers(self.before):
            wrong.append(f"macOS before {self.before}, not {mac.release}")
        if mac.developer_mode is not None and self.developer_mode not in {None, mac.developer_mode}:
            wrong.append(f"Developer Mode {'on' if self.developer_mode else 'off'}")
        if self.arch not in {None, mac.arch}:
            wrong.append(f"{self.arch}, not {mac.arch}")
        if self.guard_default != mac.guard_default:
            wrong.append(
                f"programs with task_exc_guard {self.guard_default:#x}, not {mac.guard_default:#x} "
                "(boot-arg task_exc_guard_default)"
            )
        return f"of {'; of '.join(wrong)}" if wrong else ""

    def simulate(self) -> simulator.Kernel:
        """Starts a simulated kernel of this kind."""
        return simulator.Kernel(
            release=self.release,
            developer_mode=self.developer_mode is not False,
            task_exc_guard=self.guard_default,
            arch=self.arch,
            port_table_size=self.port_table_size,
        )


class Hardening(NamedTuple):
    """What a process is that com.apple.security.hardened-process hardens."""

    level: int = 1
    """Of platform-restrictions."""
    one_exception_port: bool = False
    """Has com.apple.security.only-one-exception-port."""

    def entitlements(self) -> dict[str, object]:
        """What codesign is to give it: developer.apple.com, Bundle Resources, Entitlements, macOS 26."""
        process = "com.apple.security.hardened-process"
        found: dict[str, object] = {
            process: True,
            f"{process}.enhanced-security-version-string": "2",
            f"{process}.platform-restrictions-string": str(self.level),
        }
        if self.one_exception_port:
            found["com.apple.security.only-one-exception-port"] = True
        return found


class Machine:
    """A kernel and the test programs that run on it."""

    def __init__(self, kernel: simulator.Kernel | None, built: Path, arch: str | None = None) -> None:
        """Takes a simulated kernel, with its architecture if that is another; None: this machine's."""
        self.kernel = kernel
        self.arch = arch or ARCH
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

    def watch(self, *command: str, options: Iterable[str] = (), hardened: Hardening | None = None) -> Watched:
        """Runs a test program, maybe as a hardened process, with an exception port of the watch's."""
        program = self._hardened(command[0], hardened) if hardened else [self.program(command[0])]
        done = self.run("watch", *options, "--", *program, *command[1:])
        assert done.returncode == 0, done.stdout + done.stderr
        return Watched([json.loads(line) for line in done.stdout.splitlines()])

    def _hardened(self, name: str, hardening: Hardening) -> list[str]:
        """The command of a test program as a hardened process; skips the test where there can be none."""
        if self.kernel is not None:
            variables = [f"EXCSIM_HARDENED={hardening.level}"]
            variables += ["EXCSIM_ONE_EXCEPTION_PORT=1"] * hardening.one_exception_port
            return ["/usr/bin/env", *variables, self.program(name)]
        program = Path(f"{self.program(name)}-hardened-{hardening.level}-{hardening.one_exception_port}")
        if not program.exists():
            mine = Path(f"{program}-{os.getpid()}")  # workers run in parallel
            entitlements = Path(f"{mine}.plist")
            entitlements.write_bytes(plistlib.dumps(hardening.entitlements()))
            shutil.copy(self.program(name), mine)
            sign = ["/usr/bin/codesign", "--force", "--sign", "-", "--options", "runtime"]
            subprocess.run([*sign, "--entitlements", entitlements, mine], check=True, capture_output=True)
            mine.replace(program)
        # It has the low byte of the default then: task_set_exc_guard_ctrl_port_default, osfmk/kern/task.c.
        started = subprocess.run(
            [program, "-g", "0", "guard_flags"], capture_output=True, text=True, check=False
        )
        wanted = (_sysctl("kern.task_exc_guard_default") or 0) & 0xFF
        if started.returncode != 0 or json.loads(started.stdout)["result"] != wanted:
            pytest.skip(f"of a process that com.apple.security.hardened-process hardens: {program} is none")
        return [str(program)]

    def inspect(self) -> dict[str, Any]:
        """What the simulated kernel holds and what ReportCrash would have written."""
        return json.loads(self.run("inspect").stdout)

    def logged(self, pid: int) -> list[str]:
        """What the kernel wrote to the unified log about guards of a process, when it is there."""

        def lines() -> list[str]:
            return [line for line in self._guard_log() if f":{pid}] " in line]

        found = lines()
        assert found or self.kernel is None, "the simulated kernel writes it before anything else"
        return found or wait_until(lines)  # logd reports no end of its writing

    def _guard_log(self) -> list[str]:
        if self.kernel is not None:
            return self.inspect()["log"]
        show = ["/usr/bin/log", "show", "--last", "5m", "--style", "ndjson", "--predicate", PREDICATE]
        lines = subprocess.run(show, check=True, capture_output=True).stdout.splitlines()
        return [json.loads(line).get("eventMessage", "") for line in lines if line.startswith(b"{")]

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

    def word(self, name: str) -> int:
        """What the program said of that name, first."""
        return next(line[name] for line in self.said if name in line)

    @property
    def results(self) -> list[int]:
        """The result of each action that the program survived."""
        return [line["result"] for line in self.said if "result" in line]
