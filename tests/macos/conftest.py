"""What the proofs for macOS share: the compiler with Apple's SDK, and the product's C built by it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.macos import cross, with_macos_core

SDK_OF_ZIGLANG = {"0.13.0": "14.0", "0.14.1": "15.1", "0.16.0": "26.4", "0.17.0": "27.0"}
"""Releases of ziglang that ship another SDK -> its version (lib/libc/darwin/SDKSettings.json of each)."""

EVERYDAY = "0.16.0"
"""The release that the test requirements name: its SDK is the simulated kernel's release."""


@dataclass(frozen=True)
class Sdk:
    """A ziglang release: clang with the headers and the symbol list of one macOS SDK."""

    zig: Path
    version: str
    """Of macOS, "26.4"."""

    def clang(self, arch: str) -> list[str]:
        """The command that compiles for macOS on `arch` ("x86_64" or "arm64")."""
        minimum = ".".join(map(str, cross.MINIMUM_MACOS))
        return [str(self.zig), "cc", "-target", f"{cross.ARCHITECTURES[arch]}-macos.{minimum}"]

    def linux_clang(self, arch: str) -> list[str]:
        """The command that compiles (and does not link) for Linux on `arch`."""
        return [str(self.zig), "cc", "-target", f"{cross.ARCHITECTURES[arch]}-linux-gnu", "-D_GNU_SOURCE"]


def cache() -> Path:
    """Where releases of ziglang beside the everyday one stay between runs."""
    path = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "excguard-tests"
    path.mkdir(parents=True, exist_ok=True)
    return path


def install_ziglang(release: str) -> Path:
    """The directory that holds ziglang of that release, installed by pip on first use.

    Skips the test, saying why, when pip cannot get it.
    """
    directory = cache() / f"ziglang-{release}"
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers run in parallel
        if not (directory / "complete").exists():
            pip = (sys.executable, "-m", "pip", "-q", "install", "--no-deps", "--upgrade")
            done = subprocess.run(
                [*pip, "--target", directory, f"ziglang=={release}"],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                pytest.skip(f"pip cannot install ziglang {release}: {done.stderr.strip().splitlines()[-1]}")
            (directory / "complete").touch()
    return directory


@pytest.fixture(scope="session")
def sdk() -> Sdk:
    """The SDK that everyday tests compile against."""
    return Sdk(cross.zig_executable(), SDK_OF_ZIGLANG[EVERYDAY])


@pytest.fixture(scope="session", params=SDK_OF_ZIGLANG, ids=SDK_OF_ZIGLANG.values())
def each_sdk(request: pytest.FixtureRequest) -> Sdk:
    """Every SDK that a ziglang release ships, one after the other."""
    if request.param == EVERYDAY:
        return Sdk(cross.zig_executable(), SDK_OF_ZIGLANG[EVERYDAY])
    return Sdk(cross.zig_executable(install_ziglang(request.param)), SDK_OF_ZIGLANG[request.param])


@pytest.fixture(scope="session")
def macos_builds() -> dict[str, Path]:
    """Architecture -> where this checkout's C is installed, built for macOS (cross.BINARIES)."""
    zig = cross.zig_executable()
    return {arch: with_macos_core.build(arch, zig) for arch in cross.ARCHITECTURES}


@pytest.fixture(scope="session", params=cross.ARCHITECTURES)
def arch(request: pytest.FixtureRequest) -> str:
    """Each architecture."""
    return str(request.param)


@pytest.fixture
def macos_build(macos_builds: dict[str, Path], arch: str) -> Path:
    """The one for `arch`."""
    return macos_builds[arch]
