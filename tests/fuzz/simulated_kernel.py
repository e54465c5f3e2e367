"""The simulated kernel under sanitizers, and clients that send it what no client library would."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import excsim
from tests.support import ROOT, compiler, toolchain

NAME = "simulator"
CLIENT = ROOT / "tests/simulator/clients/fuzz.py"
SOURCES = ROOT / "daemon/simulator"
LIVES = 20  # processes of one client, each with 300 requests
RELEASES = ("26.4", "27.0", "15.5", "12.0", "10.14")


def build(directory: Path) -> Path:
    """Compiles the kernel with sanitizers."""
    cc = compiler.clang() or compiler.find()
    if cc is None:
        sys.exit("fuzzing the simulated kernel needs a C compiler")
    program = directory / "excsim-kernel"
    decoder = toolchain.KNOWLEDGE / "c_decoder"
    includes = [SOURCES, SOURCES / "include", decoder, toolchain.guard_table(directory).parent]
    command = [cc, "-std=gnu11", "-O1", "-D_GNU_SOURCE", "-DEXCSIM_EVERY_ARCHITECTURE", *compiler.SANITIZERS]
    command += [f"-I{place}" for place in includes]
    command += [str(one) for one in (*sorted((SOURCES / "kernel").glob("*.c")), decoder / "guard.c")]
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


def fuzz(seconds: int) -> int:
    """Send requests for so many seconds; 0 when the kernel has borne them all."""
    seed = 0
    with tempfile.TemporaryDirectory() as temporary:
        excsim.KERNEL_PROGRAM = build(Path(temporary))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with excsim.Kernel(release=RELEASES[seed % len(RELEASES)]) as kernel:
                seeds = [str(seed * LIVES + 1), str((seed + 1) * LIVES)]
                environ = {**os.environ, **kernel.environ}
                command = [sys.executable, "-S", "-E", str(CLIENT), *seeds]
                if subprocess.run(command, env=environ, check=False).returncode:
                    print(f"a client of seeds {seeds} has failed")  # noqa: T201 - a program
                    return 1
                if status := kernel.stop():
                    print(f"the kernel ended with status {status}; seeds {seeds}")  # noqa: T201 - a program
                    return 1
            seed += 1
    print(f"Done {seed * LIVES} clients of 300 requests each")  # noqa: T201 - a program
    return 0
