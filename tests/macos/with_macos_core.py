"""Runs a command in which Python's excguard uses the macOS build of its C extension.

    python -m tests.macos.with_macos_core pytest tests/native
    python -m tests.macos.with_macos_core excguard demo

The x86_64 extension for macOS is loaded into each Python that the command starts (linux/macho_loader.py).
That needs Linux on x86_64.
"""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.macos import cross, macho
from tests.support import compiler

LINUX = Path(__file__).resolve().parent / "linux"


VARIABLE = "EXCGUARD_TEST_MACOS_CORE"


def build(arch: str, zig: Path) -> Path:
    """cross.build of this checkout, under build/cross; only what changed is rebuilt."""
    directory = cross.ROOT / "build" / "cross" / f"{arch}-{zig.stat().st_size}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers run in parallel
        return cross.build(arch, zig, directory)


def build_adapters(destination: Path) -> None:
    """Compiles adapters.c, with the simulator's client library in it, into a shared object."""
    simulator = cross.ROOT / "daemon" / "simulator"
    subprocess.run(
        [
            *(compiler.find() or "cc", "-shared", "-fPIC", "-g", "-O1", "-std=gnu11", "-pthread"),
            *("-D_GNU_SOURCE", *compiler.WARNINGS, f"-I{simulator / 'include'}", f"-I{simulator}"),
            *("-o", destination, LINUX / "adapters.c", *sorted((simulator / "client").glob("*.c"))),
        ],
        check=True,
    )


def prepare(directory: Path, core: Path) -> dict[str, str]:
    """Fills `directory` with what linux/sitecustomize.py takes; returns the environment to run Python in.

    `core` is an x86_64 extension for macOS.
    """
    macho.read(core, "x86_64").save(directory / "core.json")
    build_adapters(directory / "adapters.so")
    path = os.pathsep.join(filter(None, [str(LINUX), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, VARIABLE: str(directory), "PYTHONPATH": path}


def main() -> int:
    """Runs the command; its exit status."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        sys.exit("with_macos_core.py: it is x86_64 code for macOS that is run, which takes Linux on x86_64")
    with tempfile.TemporaryDirectory(prefix="excguard-macos-core-") as directory:
        core = build("x86_64", cross.zig_executable()) / cross.EXTENSION
        environment = prepare(Path(directory), core)
        return subprocess.run(sys.argv[1:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
