"""The C compilers of this machine."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

WARNINGS = ["-Wall", "-Wextra", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"]


def find() -> str | None:
    """The one that $CC names, else cc, gcc or clang; None when there is none."""
    return os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def clang() -> str | None:
    """Clang, for its sanitizers and its fuzzer."""
    return shutil.which("clang")


def require() -> str:
    """The one of `find`; skips the test when there is none."""
    found = find()
    if found is None:
        pytest.skip("needs a C compiler")
    return found


def compile_sanitized(command: Sequence[str | Path]) -> None:
    """Runs a compiler with sanitizers of addresses and undefined behavior, without where it has none."""
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    if subprocess.run([*command, *sanitizers], check=False, capture_output=True).returncode:
        subprocess.run(command, check=True)


def build_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """A directory that ``build`` has filled, built once for all workers of a run."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    directory = base / name
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "done").exists():
            build(directory)
            (directory / "done").touch()
    return directory
