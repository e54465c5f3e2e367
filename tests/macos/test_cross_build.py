"""The C of the product builds for macOS, and dyld would load what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.macos import adhoc_signature, cross, dyld_rules, macho
from tests.support import mach_machine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.macos.conftest import Sdk

LIBSYSTEM = "/usr/lib/libSystem.B.dylib"
CONFORMANCE = cross.ROOT / "tests" / "conformance" / "programs"
FILETYPES = {
    cross.EXTENSION: dyld_rules.MH_DYLIB,
    cross.GUARDIAN: dyld_rules.MH_EXECUTE,
    cross.INSERTION: dyld_rules.MH_DYLIB,
}


def check(build: Path, arch: str) -> None:
    """What every build must be."""
    for name in cross.BINARIES:
        content = (build / name).read_bytes()
        file = dyld_rules.read(content)

        assert dyld_rules.violations(content) == []
        assert file.filetype == FILETYPES[name]
        assert file.minimum_os() == cross.MINIMUM_MACOS
        assert file.linked() == [LIBSYSTEM]
        assert (
            name == cross.EXTENSION or macho.imported_from_elsewhere(build / name, arch, LIBSYSTEM) == set()
        )
    # The linker resolved each symbol with libSystem's list; what it did not find is Python's, by name.
    looked_up = macho.imported_from_elsewhere(build / cross.EXTENSION, arch, LIBSYSTEM)
    assert {name for name in looked_up if not name.startswith(("_Py", "__Py"))} == set()
    assert "_PyImport_ImportModule" in looked_up
    assert "_PyInit__core" in macho.read(build / cross.EXTENSION, arch).exports


def test_the_c_builds_without_a_warning(macos_build: Path, arch: str) -> None:
    """With the SDK of the simulated release; warnings are errors."""
    check(macos_build, arch)


@pytest.mark.slow
def test_the_c_builds_with_every_sdk(each_sdk: Sdk, arch: str, tmp_path: Path) -> None:
    check(cross.build(arch, each_sdk.zig, tmp_path), arch)


def build_conformance_programs(sdk: Sdk, arch: str, directory: Path) -> None:
    include = cross.TOOLCHAIN.parent / "include"
    for program in sorted(CONFORMANCE.glob("*.c")):
        command = [*sdk.clang(arch), *mach_machine.FLAGS, "-idirafter", include, program]
        cross.run([*command, "-o", directory / program.stem])


def test_the_conformance_programs_build(sdk: Sdk, arch: str, tmp_path: Path) -> None:
    """What tests/conformance runs on a Mac compiles and links for it, with the flags that it uses there."""
    build_conformance_programs(sdk, arch, tmp_path)


@pytest.mark.slow
def test_the_conformance_programs_build_with_every_sdk(each_sdk: Sdk, arch: str, tmp_path: Path) -> None:
    build_conformance_programs(each_sdk, arch, tmp_path)


@pytest.mark.parametrize("name", cross.BINARIES)
def test_the_code_is_signed(macos_build: Path, name: str) -> None:
    """arm64 Macs run no unsigned code, hardened processes map none: ad hoc, with hashes that fit the file."""
    assert dyld_rules.signature_errors((macos_build / name).read_bytes()) == []


def test_a_file_that_is_signed_already_stays_as_it_is(macos_build: Path) -> None:
    content = (macos_build / cross.INSERTION).read_bytes()
    assert adhoc_signature.sign(content, "other") == content


def test_a_changed_byte_breaks_the_signature(macos_builds: dict[str, Path]) -> None:
    content = bytearray((macos_builds["arm64"] / cross.EXTENSION).read_bytes())
    content[0x4321] ^= 1
    assert dyld_rules.signature_errors(bytes(content)) == ["page 1 has another hash"]


@pytest.mark.parametrize(
    ("place", "value", "rule"),
    [
        (12, 1, "filetype 1 is nothing that dyld loads"),
        (12, 2, "LC_MAIN is there once in a program and nowhere else"),
        (16, 3, "not exactly one LC_UUID"),
        (32 + 60, 7, "__TEXT has permissions 7"),
    ],
)
def test_the_rules_find_what_dyld_refuses(macos_build: Path, place: int, value: int, rule: str) -> None:
    """The check would notice: a file with one field changed is refused by name."""
    content = bytearray((macos_build / cross.EXTENSION).read_bytes())
    content[place : place + 4] = value.to_bytes(4, "little")
    assert rule in dyld_rules.violations(bytes(content))
