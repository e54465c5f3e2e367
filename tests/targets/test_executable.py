"""What is read from the file of a program: its format, its architectures, its signature."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excguard.targets import mach_o
from excguard.targets.executable import Executable
from excguard.targets.mach_o import MachOError
from tests.support.mach_o_files import ADHOC, RUNTIME, signature, thin, universal, write


def test_a_signature_is_read_with_its_flags_team_and_entitlements(tmp_path: Path) -> None:
    signed = signature(flags=RUNTIME, team="ABCDE12345", entitlements={"get-task-allow": True, "x": False})
    (one,) = mach_o.read(write(tmp_path / "app", thin("arm64", signed=signed)))

    assert (one.architecture, one.program, one.restricted) == ("arm64", True, False)
    assert one.signature is not None
    assert (one.signature.runtime, one.signature.team, one.signature.platform) == (True, "ABCDE12345", False)
    assert one.signature.has("get-task-allow")
    assert not one.signature.has("x")
    assert one.signature.text == "team ABCDE12345, hardened runtime, get-task-allow"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"flags": ADHOC}, "signed ad hoc"),
        ({"platform": 15}, "signed by Apple as part of the system"),
        (
            {"entitlements": {"hardened-process.platform-restrictions-string": "2"}},
            "signed ad hoc, platform restrictions",
        ),
    ],
)
def test_a_signature_in_words(tmp_path: Path, settings, text: str) -> None:
    (one,) = mach_o.read(write(tmp_path / "app", thin(signed=signature(**settings))))

    assert one.signature is not None
    assert one.signature.text == text


def test_entitlements_in_der_alone_are_not_known(tmp_path: Path) -> None:
    signed = signature(entitlements={"app-sandbox": True}, der_only=True)
    (one,) = mach_o.read(write(tmp_path / "app", thin(signed=signed)))

    assert one.signature is not None
    assert one.signature.entitlements is None


@pytest.mark.parametrize("bits", [32, 64])
def test_the_slices_of_a_universal_file_that_a_machine_may_run(tmp_path: Path, bits: int) -> None:
    program = write(tmp_path / "app", universal(thin("x86_64"), thin("arm64"), thin("arm64e"), bits=bits))
    executable = Executable.of(program)

    assert [one.architecture for one in executable.slices] == ["x86_64", "arm64", "arm64e"]
    assert [one.architecture for one in executable.running_slices("arm64")] == ["arm64", "arm64e"]
    assert [one.architecture for one in executable.running_slices("x86_64")] == ["x86_64"]


def test_an_intel_program_runs_under_rosetta_and_no_arm_program_on_intel(tmp_path: Path) -> None:
    intel = Executable.of(write(tmp_path / "intel", thin("x86_64")))
    arm = Executable.of(write(tmp_path / "arm", thin("arm64")))

    assert [one.architecture for one in intel.running_slices("arm64")] == ["x86_64"]
    assert arm.running_slices("x86_64") == []


def test_a_restrict_segment_is_found(tmp_path: Path) -> None:
    (one,) = mach_o.read(write(tmp_path / "app", thin(segments=("__RESTRICT",))))

    assert one.restricted


def test_of_a_script_the_interpreter_is_looked_at(tmp_path: Path) -> None:
    interpreter = write(tmp_path / "interpreter", thin())
    script = write(tmp_path / "script", f"#! {interpreter} -x\n".encode())
    executable = Executable.of(script)

    assert (executable.path, executable.script) == (interpreter, script)
    assert [one.architecture for one in executable.slices] == ["arm64"]


@pytest.mark.parametrize(("mode", "set_id"), [(0o755, False), (0o4755, True), (0o2755, True)])
def test_a_mode_that_changes_the_user(tmp_path: Path, mode: int, *, set_id: bool) -> None:
    assert Executable.of(write(tmp_path / "app", thin(), mode)).set_id is set_id


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        (b"", "neither a Mach-O nor an ELF program"),
        (b"no program", "neither a Mach-O nor an ELF program"),
        (b"\xca\xfe\xba\xbe\0\0\0\x37", "not a universal file"),  # a Java class
        (thin()[:20], "damaged"),
        (thin(signed=b"\0" * 12), "damaged: magic number 0x0"),
    ],
)
def test_a_file_that_is_not_a_program_is_reported(tmp_path: Path, contents: bytes, problem: str) -> None:
    assert problem in Executable.of(write(tmp_path / "app", contents)).problem


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    assert Executable.of(tmp_path / "none").problem == "no such file or directory"


def test_a_ring_of_scripts_ends(tmp_path: Path) -> None:
    ring = write(tmp_path / "ring", f"#!{tmp_path}/ring\n".encode())

    assert Executable.of(ring).problem == "neither a Mach-O nor an ELF program"


@pytest.mark.skipif(sys.platform == "darwin", reason="programs of this machine are ELF files")
def test_programs_of_this_machine_are_dynamic(tmp_path: Path) -> None:
    assert Executable.of(Path(sys.executable)).elf is True
    header = bytearray(Path(sys.executable).read_bytes()[:64])
    header[54:58] = bytes(4)  # no program headers, so no dynamic linker
    assert Executable.of(write(tmp_path / "static", bytes(header))).elf is False


@pytest.mark.skipif(sys.platform == "darwin", reason="programs of this machine are ELF files")
@pytest.mark.parametrize("sanitized", [False, True])
def test_an_elf_program_with_address_sanitizer_is_recognized(tmp_path: Path, *, sanitized: bool) -> None:
    (tmp_path / "app.c").write_text("int main(void) { return 0; }\n")
    options = ["-fsanitize=address"] if sanitized else []
    done = subprocess.run(["gcc", *options, "app.c", "-o", "app"], cwd=tmp_path, check=False)
    if done.returncode:
        pytest.skip("no gcc with AddressSanitizer")

    assert Executable.of(tmp_path / "app").sanitized is sanitized


@pytest.mark.skipif(sys.platform == "darwin", reason="programs of this machine are ELF files")
@given(st.binary(min_size=1, max_size=64), st.integers(0, 1200))
def test_a_damaged_elf_file_is_no_error(tmp_path_factory, junk: bytes, at: int) -> None:
    whole = Path("/bin/true").read_bytes()
    path = tmp_path_factory.getbasetemp() / f"elf-{os.getpid()}"
    at = max(at, 4)
    path.write_bytes(whole[:at] + junk + whole[at + len(junk) :])
    found = Executable.of(path)

    assert found.elf in {True, False} or found.problem


@given(st.binary(max_size=400), st.integers(0, 400))
def test_damaged_files_raise_one_error(tmp_path_factory, junk: bytes, at: int) -> None:
    whole = universal(thin(signed=signature(team="T", entitlements={"a": 1})), thin("x86_64"))
    damaged = whole[:at] + junk + whole[at + len(junk) :]
    path = tmp_path_factory.getbasetemp() / f"damaged-{os.getpid()}"
    path.write_bytes(damaged)
    try:
        mach_o.read(path)
    except MachOError as error:
        assert str(error)  # noqa: PT017 - refusing is one of two right outcomes


@pytest.mark.parametrize("named_by", ["itself", "a script"])
def test_a_program_that_is_a_fifo_is_not_waited_for(tmp_path: Path, named_by: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o755)
    program = fifo if named_by == "itself" else write(tmp_path / "script", b"#!%b\n" % bytes(fifo))

    assert Executable.of(program).problem == "not a regular file"


def test_an_interpreter_with_a_nul_character_is_a_problem(tmp_path: Path) -> None:
    script = write(tmp_path / "script", b"#!/bin/a\0b\n")

    assert Executable.of(script).problem == "a nul character in the path"


def test_one_signature_is_read(tmp_path: Path) -> None:
    """A file of a megabyte could otherwise make excguard read thousands of property lists."""
    whole = thin(signed=signature())
    at = whole.index(struct.pack("<2I", 0x1D, 16))
    count, size, start, length = (
        *struct.unpack_from("<2I", whole, 16),
        *struct.unpack_from("<2I", whole, at + 8),
    )
    command = struct.pack("<4I", 0x1D, 16, start + 16, length)
    head = whole[:16] + struct.pack("<2I", count + 1, size + 16) + whole[24:at]

    with pytest.raises(MachOError, match="several code signatures"):
        mach_o.read(write(tmp_path / "app", head + 2 * command + whole[at + 16 :]))
