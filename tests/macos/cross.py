"""Builds excguard's C for macOS on another system, through the package's own CMakeLists.txt.

The compiler is PyPI's ``ziglang``: clang, the headers of a macOS SDK and the list of symbols that libSystem
has. What comes out is what a Mac's compiler would make of the same sources: one Mach-O file an architecture.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.macos import adhoc_signature

ROOT = Path(__file__).resolve().parents[2]
TOOLCHAIN = Path(__file__).resolve().parent / "zig" / "zig.cmake"

ARCHITECTURES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""Apple's name of an architecture -> zig's."""

EXTENSION = "excguard/native/_core.abi3.so"
GUARDIAN = "excguard/process/guardian/excguard-guardian"
INSERTION = "excguard/native/libexcguard_insertion.dylib"
BINARIES = (EXTENSION, GUARDIAN, INSERTION)
"""What is built, relative to the place where packages are installed."""

MINIMUM_MACOS = (12, 0)
"""Deployment target; EXCEPTION_IDENTITY_PROTECTED exists since macOS 12 (mach/exception_types.h)."""


class BuildError(Exception):
    """A step of the build failed; the message holds the command and what it printed."""


def run(command: list[str | Path], **environment: str) -> str:
    """Runs a command and returns what it printed; raises BuildError with that when it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode != 0:
        raise BuildError(f"{' '.join(map(str, command))}\nexited with {done.returncode}:\n{done.stdout}")
    return done.stdout


def zig_executable(site: Path | None = None) -> Path:
    """The zig of the ziglang package in the directory `site`, or of the one that Python finds.

    Raises BuildError when there is none.
    """
    if site is not None:
        package = site / "ziglang"
    else:
        spec = importlib.util.find_spec("ziglang")
        if spec is None or spec.origin is None:
            raise BuildError(f"ziglang is not installed: {sys.executable} -m pip install ziglang")
        package = Path(spec.origin).parent
    zig = package / "zig"
    if not zig.exists():
        raise BuildError(f"no zig in {package}")
    return zig


def python_headers(destination: Path) -> Path:
    """Copies the running Python's headers, with a pyconfig.h for macOS in place of this machine's."""
    shutil.copytree(
        sysconfig.get_path("include"),
        destination,
        ignore=shutil.ignore_patterns("pyconfig*.h", "pygtk*"),
        dirs_exist_ok=True,
    )
    shutil.copy(TOOLCHAIN.parent / "python" / "pyconfig.h", destination)
    return destination


def tool(name: str) -> str:
    """Path of cmake or ninja, of this Python's environment if it has them. Raises BuildError."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise BuildError(f"{name} is not installed: {sys.executable} -m pip install {name}")
    return found


def build(arch: str, zig: Path, directory: Path, root: Path = ROOT) -> Path:
    """Builds for `arch` (a key of ARCHITECTURES) in `directory`; returns where BINARIES are installed.

    Warnings are errors. `root` is the checkout whose sources are built. Raises BuildError.
    """
    include = python_headers(directory / "python")
    run(
        [
            tool("cmake"),
            *("-G", "Ninja", "-S", root / "daemon", "-B", directory / "build"),
            f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
            f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN}",
            f"-DEXCGUARD_ZIG={zig}",
            f"-DEXCGUARD_MACOS_ARCH={ARCHITECTURES[arch]}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DPython_INCLUDE_DIR={include}",
            "-DCMAKE_BUILD_TYPE=Release",
            "-DEXCGUARD_WERROR=ON",
        ],
    )
    run([tool("cmake"), "--build", directory / "build"])
    installed = directory / "install"
    run([tool("cmake"), "--install", directory / "build", "--prefix", installed])
    for name in BINARIES:
        path = installed / name
        path.write_bytes(adhoc_signature.sign(path.read_bytes(), path.name))
    found = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    if found != set(BINARIES):
        raise BuildError(f"the build for macOS installs {sorted(found)}, expected were {sorted(BINARIES)}")
    return installed
