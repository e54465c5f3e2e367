"""The simulated kernel as a program: how it is started, what it says of itself, when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import excsim
from tests.support.waiting import has_ended, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mach_machine import Machine


def run_python(script: str, **options: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name != excsim.SOCKET_VARIABLE}
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**environ, **options},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "excsim", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


# ---- from Python ----


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"release": "10.8"}, "10.9 or later"),
        ({"release": "fifteen"}, "invalid release"),
        ({"task_exc_guard": 256}, "0 to 0xff"),
        ({"arch": "ppc"}, "x86_64 or arm64"),
        ({"port_table_size": 255}, "256 to 65536"),
    ],
)
def test_arguments_are_checked(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        excsim.Kernel(**options)  # type: ignore[arg-type]


def test_missing_program_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(excsim, "KERNEL_PROGRAM", tmp_path / "excsim-kernel")

    with pytest.raises(excsim.KernelError, match="this build has no simulator"):
        excsim.Kernel()


def test_program_that_cannot_run_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "excsim-kernel"
    program.touch()
    monkeypatch.setattr(excsim, "KERNEL_PROGRAM", program)

    with pytest.raises(excsim.KernelError, match="Permission denied"):
        excsim.Kernel()


def test_long_temporary_directory(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    script = "import excsim\nwith excsim.Kernel() as kernel: print(kernel.socket)"

    done = run_python(script, TMPDIR=str(deep))

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("/tmp/excsim-")  # noqa: S108


def test_stop_is_safe_to_repeat_and_leaves_nothing() -> None:
    kernel = excsim.Kernel()
    directory = Path(kernel.socket).parent

    assert kernel.stop() == 0
    assert kernel.stop() == 0
    assert not directory.exists()
    assert wait_until(lambda: has_ended(kernel.pid))


def test_kernel_ends_with_who_started_it() -> None:
    script = """
import os
import excsim
kernel = excsim.Kernel()
print(kernel.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = run_python(script)

    assert done.returncode == -signal.SIGKILL
    assert wait_until(lambda: has_ended(int(done.stdout)))


def test_one_is_started_if_none_is_there(boot: Callable[..., Machine]) -> None:
    script = """
import os
import excsim
excsim.start_if_needed()
first = os.environ[excsim.SOCKET_VARIABLE]
excsim.start_if_needed()
assert os.environ[excsim.SOCKET_VARIABLE] == first
assert os.path.exists(first)
pid = os.fork()
if pid == 0:
    raise SystemExit  # a child must not take it along
os.waitpid(pid, 0)
assert os.path.exists(first)
print(first)
"""
    own = run_python(script)
    given = boot()
    other = run_python(script, EXCSIM_SOCKET=given.kernel.socket)

    assert own.returncode == 0, own.stderr
    assert not Path(own.stdout.strip()).exists()
    assert other.returncode == 0, other.stderr
    assert other.stdout.split() == [given.kernel.socket] * len(other.stdout.split())


# ---- python -m excsim ----


def test_status_is_that_of_the_program() -> None:
    assert run_module("--", "sh", "-c", "exit 7").returncode == 7
    assert run_module("--", "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM


def test_signal_goes_on_to_the_program() -> None:
    command = [sys.executable, "-m", "excsim", "--", "sh", "-c", "echo; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.send_signal(signal.SIGTERM)

        assert running.wait(30) == 128 + signal.SIGTERM


def test_program_that_is_not_there() -> None:
    done = run_module("--", "/no/such/program")

    assert done.returncode == 125
    assert done.stderr == "excsim: /no/such/program: No such file or directory\n"


def test_bad_release() -> None:
    done = run_module("--release", "9.0", "--", "true")

    assert done.returncode == 2
    assert "10.9 or later" in done.stderr


def test_guard_flags_that_are_no_number() -> None:
    done = run_module("--task-exc-guard", "zz", "--", "true")

    assert done.returncode == 2
    assert "Invalid value for '--task-exc-guard': invalid flags 'zz': a number from 0 to 0xff" in done.stderr


def test_size_of_the_port_table() -> None:
    code = (
        "from excguard.native import ffi, lib; size = ffi.new('size_t *', 4); value = ffi.new('int *'); "
        "lib.sysctlbyname(b'machdep.max_port_table_size', value, size, ffi.NULL, 0); print(value[0])"
    )
    done = run_module("--port-table-size", "512", "--", sys.executable, "-c", code)

    assert (done.returncode, done.stdout, done.stderr) == (0, "512\n", "")


def test_bad_size_of_the_port_table() -> None:
    done = run_module("--port-table-size", "9", "--", "true")

    assert done.returncode == 2
    assert "invalid size of a port table 9: 256 to 65536" in done.stderr


def test_flags_build_a_program(tmp_path: Path, machine: Machine) -> None:
    source = tmp_path / "program.c"
    source.write_text(
        "#include <mach/mach.h>\nint main(void) { return mach_task_self() == MACH_PORT_NULL; }\n"
    )
    flags = run_module("--cflags").stdout.split()
    libraries = run_module("--libs").stdout.split()
    program = tmp_path / "program"
    subprocess.run(["cc", *flags, str(source), *libraries, "-o", str(program)], check=True)

    assert subprocess.run([program], env=machine.environ, check=False).returncode == 0


def test_alone_it_prints_its_variable_and_ends_on_a_signal() -> None:
    command = [sys.executable, "-m", "excsim"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line.startswith("EXCSIM_SOCKET=")
        assert Path(line.strip().split("=", 1)[1]).exists()
        running.send_signal(signal.SIGTERM)

        assert running.wait(30) == 0


# ---- what it holds ----


def test_help() -> None:
    done = subprocess.run([excsim.KERNEL_PROGRAM, "--help"], capture_output=True, text=True, check=True)

    assert "it runs no Mach code and protects nothing" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--release", "9"],
        ["--arch", "ppc"],
        ["--task-exc-guard", "256"],
        ["--port-table-size", "9"],
        ["--listen-fd", "x"],
        ["word"],
    ],
)
def test_kernel_refuses_other_options(arguments: list[str]) -> None:
    done = subprocess.run([excsim.KERNEL_PROGRAM, *arguments], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr


def test_it_says_that_it_is_a_simulation(boot: Callable[..., Machine]) -> None:
    machine = boot(release="15.5")
    done = machine.run("sysctl", "kern.version", "kern.osproductversion", "kern.osversion", "kern.ostype")

    assert "simulated" in done.stdout.splitlines()[0].lower()
    assert done.stdout.splitlines()[1] == "15.5"


@pytest.mark.parametrize(("release", "lines"), [("15.5", 0), ("26.0", 256)])
def test_newest_guards_are_logged_since_26(boot: Callable[..., Machine], release: str, lines: int) -> None:
    machine = boot(release=release)
    machine.watch("raise", hex(1 << 61 | 0x200 << 32), "1", "300")

    assert len(machine.inspect()["log"]) == lines


def test_storm_leaves_nothing(machine: Machine) -> None:
    machine.run("raise", "0x2000020000000103", "1")
    before = machine.inspect()
    seen = machine.watch("raise", "0x2000020000000103", "1", "3000")
    after = machine.inspect()

    assert len(seen.messages) == 3000
    for what in ("tasks", "threads", "ports", "messages", "message_bytes"):
        assert after[what] == before[what], what


@pytest.mark.parametrize(("release", "status"), [("11.6", 0), ("26.4", -signal.SIGKILL)])
def test_limits_of_one_client(boot: Callable[..., Machine], release: str, status: int) -> None:
    """Since macOS 12 a task that needs more names than there are is ended."""
    machine = boot(release=release)
    done = machine.run("limits")

    assert done.returncode == status, done.stderr
    assert done.stderr == ""
    assert machine.inspect()["message_bytes"] == 0
