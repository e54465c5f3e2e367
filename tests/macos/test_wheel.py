"""The macOS wheel that is assembled here holds what a Mac needs, and pip would take it there."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.macos import cross, dyld_rules, universal
from tests.macos import macos_wheel as assembly

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SIMULATOR_HEADERS = cross.ROOT / "daemon" / "simulator" / "include"


@pytest.fixture(scope="module")
def linux_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assembly.linux_wheel(tmp_path_factory.mktemp("linux"))


@pytest.fixture(scope="module")
def macos_wheel(
    linux_wheel: Path, macos_builds: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    directory = tmp_path_factory.mktemp("macos")
    return assembly.assemble(linux_wheel, assembly.join(macos_builds, directory / "universal"), directory)


def test_the_source_distribution_is_whole(linux_wheel: Path) -> None:
    """The wheel was built from it; what tests, packages and documents is in it too."""
    (sdist,) = linux_wheel.parent.glob("excguard-*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"tests/macos/zig/zig.cmake", "tests/macos/linux/adapters.c", "docs/proof.md", "LICENSE"}
    assert wanted <= held
    assert [name for name in held if name.endswith((".so", ".pyc", ".o"))] == []


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_the_tag_is_right(macos_wheel: Path) -> None:
    """One file for every CPython from 3.11, on both architectures, from macOS 12."""
    assert re.fullmatch(r"excguard-[0-9.]+-cp311-abi3-macosx_12_0_universal2\.whl", macos_wheel.name)
    with zipfile.ZipFile(macos_wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        text = archive.read(metadata).decode()
    assert "Tag: cp311-abi3-macosx_12_0_universal2\n" in text
    assert "Root-Is-Purelib: false\n" in text


def test_the_contents_are_those_of_the_linux_wheel(macos_wheel: Path, linux_wheel: Path) -> None:
    """All but the simulator's programs, and with other bytes in the files that are machine code."""
    left_behind = {name for name in names(linux_wheel) if name.startswith(assembly.LEFT_BEHIND)}
    assert {"excsim/bin/excsim-kernel", "excsim/lib/libexcsim.a", "excsim/__init__.py"} <= left_behind
    kept = names(linux_wheel) - left_behind
    assert names(macos_wheel) == {assembly.OTHER_NAMES.get(name, name) for name in kept}
    assert assembly.OTHER_NAMES.keys() < kept
    with zipfile.ZipFile(macos_wheel) as macs, zipfile.ZipFile(linux_wheel) as ours:
        names_here = {mac: linux for linux, mac in assembly.OTHER_NAMES.items()}
        changed = {
            name for name in macs.namelist() if macs.read(name) != ours.read(names_here.get(name, name))
        }
    assert {name for name in changed if ".dist-info/" not in name} == set(cross.BINARIES)


USERS_C = {
    "excguard/client/excguard_client.c",
    "excguard/client/excguard_client.h",
    "excsim/lib/libexcsim.a",
    *(
        f"excsim/include/{path.relative_to(SIMULATOR_HEADERS)}"
        for path in SIMULATOR_HEADERS.rglob("*")
        if path.is_file()
    ),
}
"""What programs of users are built from."""

BUILD_INPUT = (".c", ".h", ".cdef", "CMakeLists.txt", "build_core.py", "generate_stub.py", ".a", ".o")


def test_only_what_users_build_from_is_there_in_c(macos_wheel: Path, linux_wheel: Path) -> None:
    """No source of the extension, the guardian or the simulated kernel."""
    assert {name for name in names(linux_wheel) if name.endswith(BUILD_INPUT)} == USERS_C
    here = {name for name in USERS_C if not name.startswith(assembly.LEFT_BEHIND)}
    assert {name for name in names(macos_wheel) if name.endswith(BUILD_INPUT)} == here


def test_the_program_in_it_is_executable(macos_wheel: Path) -> None:
    with zipfile.ZipFile(macos_wheel) as archive:
        assert archive.getinfo(cross.GUARDIAN).external_attr >> 16 & 0o111 == 0o111


def test_nothing_in_it_is_for_linux(macos_wheel: Path) -> None:
    with zipfile.ZipFile(macos_wheel) as archive:
        assert [name for name in archive.namelist() if archive.read(name)[:4] == b"\x7fELF"] == []


def test_the_record_fits(macos_wheel: Path) -> None:
    with zipfile.ZipFile(macos_wheel) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
        rows = list(csv.reader(io.StringIO(archive.read(record).decode())))
        assert {row[0] for row in rows} == set(archive.namelist())
        for name, digest, size in rows:
            if name != record:
                content = archive.read(name)
                raw = base64.urlsafe_b64decode(digest.removeprefix("sha256=") + "=")
                assert (hashlib.sha256(content).digest(), str(len(content))) == (raw, size)


@pytest.mark.parametrize("name", cross.BINARIES)
def test_the_binaries_are_universal(macos_wheel: Path, macos_builds: dict[str, Path], name: str) -> None:
    """Both slices are the files that the other proofs looked at, byte for byte; arm64's is still signed."""
    with zipfile.ZipFile(macos_wheel) as archive:
        slices = dyld_rules.slices(archive.read(name))
    assert len(slices) == 2
    for arch, (cpu, _) in universal.CPU_TYPES.items():
        assert slices[cpu] == (macos_builds[arch] / name).read_bytes()
        assert dyld_rules.violations(slices[cpu]) == []
        assert dyld_rules.read(slices[cpu]).minimum_os() == cross.MINIMUM_MACOS
        assert dyld_rules.signature_errors(slices[cpu]) == []


@pytest.mark.parametrize("platform", ["macosx_12_0_arm64", "macosx_12_0_x86_64", "macosx_26_0_arm64"])
@pytest.mark.parametrize("python", ["3.11", "3.14"])
def test_pip_takes_it(macos_wheel: Path, tmp_path: Path, platform: str, python: str) -> None:
    done = pip_install(macos_wheel, tmp_path, platform, python)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / cross.EXTENSION).is_file()


def test_pip_refuses_it_for_an_older_macos(macos_wheel: Path, tmp_path: Path) -> None:
    done = pip_install(macos_wheel, tmp_path, "macosx_11_0_arm64", "3.11")
    assert "is not a supported wheel on this platform" in done.stderr


def pip_install(path: Path, target: Path, platform: str, python: str) -> subprocess.CompletedProcess[str]:
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--no-index")
    return subprocess.run(
        [*pip, "--target", target, "--platform", platform, "--python-version", python, path],
        capture_output=True,
        text=True,
        check=False,
    )
