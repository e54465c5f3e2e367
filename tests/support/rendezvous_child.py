"""The child of the tests of rendezvous: a C program with the C client in it, compiled once a run."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import excsim

CLIENT = Path(__file__).parents[2] / "daemon" / "excguard" / "client"
PROGRAM = Path(__file__).parents[1] / "rendezvous" / "programs" / "child.c"


def compile_child(output: Path, *, sanitize: bool) -> None:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("needs a C compiler")
    command = [compiler, "-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{CLIENT}"]
    command += [str(PROGRAM), str(CLIENT / "excguard_client.c")]
    if sys.platform != "darwin":
        command += ["-D_GNU_SOURCE", f"-I{excsim.INCLUDE}", str(excsim.LIBRARY), "-pthread", "-ldl"]
    command += ["-o", str(output)]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"] if sanitize else []
    if subprocess.run([*command, *sanitizers], check=False, capture_output=True).returncode:
        subprocess.run(command, check=True)  # a compiler without the sanitizers' libraries


def built(factory: pytest.TempPathFactory) -> str:
    """Its path; with sanitizers where the compiler has them."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    program = base / "rendezvous-child"
    with (base / "rendezvous-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers run in parallel
        if not program.exists():
            compile_child(program.with_suffix(".new"), sanitize=True)
            program.with_suffix(".new").rename(program)
    return str(program)
