"""Whether the library can be inserted into a program: certain, or left alone."""

from pathlib import Path

import pytest

from excguard.mach.host import Host
from excguard.targets import insertion
from excguard.targets.executable import Executable
from excguard.targets.insertion import Effect, endangered, judge, with_library
from tests.support.mach_o_files import ADHOC, RUNTIME, signature, thin, universal, write

ALLOWED = {"cs.allow-dyld-environment-variables": True, "cs.disable-library-validation": True}


def mac(machine: str = "arm64", release: str = "26.4") -> Host:
    return Host(release, "", "xnu-1", machine, developer_mode=True, guard_behavior=0x99)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return write(tmp_path / "library.dylib", universal(thin("arm64", kind=6), thin("x86_64", kind=6)))


@pytest.mark.parametrize(
    ("program", "effect", "reason"),
    [
        (thin(), Effect.LOADED, ""),
        (thin("x86_64"), Effect.LOADED, ""),
        (thin(signed=signature(flags=ADHOC)), Effect.LOADED, ""),
        (thin(signed=signature(team="T")), Effect.LOADED, ""),
        (thin(signed=signature(flags=RUNTIME, entitlements=ALLOWED)), Effect.LOADED, ""),
        # dyld ignores its variables
        (thin(segments=("__RESTRICT",)), Effect.IGNORED, "__RESTRICT"),
        (thin(signed=signature(platform=1)), Effect.IGNORED, "part of macOS"),
        (thin(signed=signature(flags=RUNTIME)), Effect.IGNORED, "hardened runtime"),
        (
            thin(signed=signature(flags=RUNTIME, entitlements={"get-task-allow": True})),
            Effect.IGNORED,
            "hardened runtime",
        ),
        (thin(signed=signature(flags=0x800)), Effect.IGNORED, "hardened runtime"),
        # dyld ends the program
        (
            thin(signed=signature(flags=RUNTIME, entitlements={"cs.allow-dyld-environment-variables": True})),
            Effect.FATAL,
            "library validation",
        ),
        (thin(signed=signature(flags=0x2000)), Effect.FATAL, "library validation"),
        (universal(thin("arm64"), thin("arm64e")), Effect.FATAL, "arm64e"),
        # not decidable
        (thin(signed=signature(entitlements={}, der_only=True)), Effect.UNKNOWN, "entitlements"),
        (thin(signed=signature(entitlements={"app-sandbox": True})), Effect.UNKNOWN, "sandbox"),
        (b"\x7fNOT", Effect.UNKNOWN, "neither a Mach-O nor"),
    ],
)
def test_what_dyld_does(tmp_path: Path, library: Path, program: bytes, effect: Effect, reason: str) -> None:
    verdict = judge(Executable.of(write(tmp_path / "app", program)), library, mac(), {})

    assert verdict.effect is effect
    assert reason in verdict.reason
    assert bool(verdict.reason) == (effect is not Effect.LOADED)


def test_a_setuid_program_ignores_the_variable(tmp_path: Path, library: Path) -> None:
    verdict = judge(Executable.of(write(tmp_path / "app", thin(), 0o4755)), library, mac(), {})

    assert (verdict.effect, verdict.reason) == (Effect.IGNORED, "it is setuid or setgid")


def test_an_arm_program_has_no_code_for_an_intel_mac(tmp_path: Path, library: Path) -> None:
    verdict = judge(Executable.of(write(tmp_path / "app", thin())), library, mac("x86_64"), {})

    assert (verdict.effect, verdict.reason) == (Effect.UNKNOWN, "it has no code for x86_64")


def test_a_program_of_macos_is_left_alone(library: Path) -> None:
    verdict = judge(Executable(Path("/usr/bin/env")), library, mac(), {})

    assert verdict.effect is Effect.IGNORED
    assert "start the program itself" in verdict.fix


def test_a_library_whose_path_the_variable_cannot_hold_is_not_inserted(tmp_path: Path) -> None:
    odd = write(tmp_path / "a:b" / "library.dylib", thin(kind=6))

    assert judge(Executable.of(odd), odd, mac(), {}).effect is Effect.UNKNOWN


@pytest.mark.parametrize(
    ("helper", "mode", "reason"),
    [
        (thin(), 0o755, ""),
        (thin(signed=signature(flags=RUNTIME)), 0o755, ""),  # ignores the variable, and runs
        (thin(signed=signature(flags=0x2000)), 0o755, "Contents/Helpers/helper: library validation"),
        (thin(signed=signature(flags=0x2000)), 0o644, ""),  # not a program that could be started
        (thin(signed=signature(flags=0x2000), kind=6), 0o755, ""),  # a library
    ],
)
def test_programs_of_the_same_bundle_must_survive_the_variable(
    tmp_path: Path, library: Path, helper: bytes, mode: int, reason: str
) -> None:
    contents = tmp_path / "My.app" / "Contents"
    main = write(contents / "MacOS" / "my", thin())
    write(contents / "Helpers" / "helper", helper, mode)
    write(contents / "Resources" / "run.sh", b"#!/bin/sh\n")

    assert endangered(Executable.of(main), library, mac()).startswith(reason)
    assert bool(endangered(Executable.of(main), library, mac())) == bool(reason)


def test_a_bundle_that_is_too_large_to_check_counts_as_endangered(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(insertion, "_MAX_ENTRIES", 1)
    main = write(tmp_path / "My.app" / "Contents" / "MacOS" / "my", thin())
    write(main.with_name("other"), thin())

    assert "were not checked" in endangered(Executable.of(main), library, mac())


def test_libraries_that_are_inserted_already_stay() -> None:
    assert with_library(Path("/lib"), "") == "/lib"
    assert with_library(Path("/lib"), "/other") == "/lib:/other"
    assert with_library(Path("/lib"), "/lib:/other") == "/lib:/other"
