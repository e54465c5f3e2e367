"""Symbolizers: Breakpad files and real Mach-O by symbolic, atos by stand-ins of Apple's tools."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path  # noqa: TC003 - pytest reads the annotations

import pytest
from click.testing import CliRunner

from excguard.cli import main
from excguard.crash_reports.symbolicated_copy import symbolicated_copy
from excguard.crash_reports.symbols.atos import Atos
from excguard.crash_reports.symbols.cached import CachedSymbolizer
from excguard.crash_reports.symbols.debug_files import DebugFiles
from excguard.crash_reports.symbols.symbol import Image, Symbol
from excguard.crash_reports.symbols.symbolizer import SymbolizerError, open_symbolizer
from tests.support.mach_o_files import thin, universal
from tests.support.samples import INVALID_NAME

UUID = "AEEC3AC6-8B0B-3FB3-BBB5-9E12BD88ACA2"
BREAKPAD = f"""MODULE mac arm64 {UUID.replace("-", "")}0 libfoo.dylib
FILE 0 /src/foo.c
INLINE_ORIGIN 0 release_twice
FUNC 1f00 40 0 foo_close
INLINE 0 14 0 0 1f30 10
1f00 20 12 0
1f20 10 13 0
1f30 10 3 0
FUNC 1f40 10 0 foo_open
1f40 10 30 0
"""
IMAGE = Image("libfoo.dylib", UUID, "arm64")


@pytest.fixture
def debug_files(tmp_path: Path) -> DebugFiles:
    pytest.importorskip("symbolic")
    (tmp_path / "libfoo.sym").write_text(BREAKPAD)
    (tmp_path / "notes.txt").write_text("MODU of something else\n")
    (tmp_path / "empty").touch()
    # symbolic does not open these: findings/machofile_misreads_64_bit_universal_files.sh.
    (tmp_path / "dsym").write_bytes(universal(thin("x86_64"), thin("arm64"), bits=64))
    return DebugFiles([tmp_path])


class TestDebugFiles:
    @pytest.mark.parametrize(
        ("offset", "expected"),
        [
            (0x1F00, Symbol("foo_close", 0, "/src/foo.c", 12)),
            (0x1F24, Symbol("foo_close", 0x24, "/src/foo.c", 13)),
            (0x1F34, Symbol("foo_close", 0x34, "/src/foo.c", 14)),  # release_twice, inlined
            (0x1F48, Symbol("foo_open", 8, "/src/foo.c", 30)),
            (0x10, None),
            (-1, None),
            (1 << 40, None),
        ],
    )
    def test_offset(self, debug_files: DebugFiles, offset: int, expected: Symbol | None) -> None:
        assert debug_files.symbol(IMAGE, offset) == expected

    @pytest.mark.parametrize("uuid", [UUID.lower(), UUID.replace("-", "")])
    def test_every_spelling_of_a_uuid(self, debug_files: DebugFiles, uuid: str) -> None:
        assert debug_files.symbol(IMAGE._replace(uuid=uuid), 0x1F00) == Symbol(
            "foo_close", 0, "/src/foo.c", 12
        )

    @pytest.mark.parametrize("uuid", ["", "12", "0" * 32, "not a uuid"])
    def test_unknown_image(self, debug_files: DebugFiles, uuid: str) -> None:
        assert debug_files.symbol(IMAGE._replace(uuid=uuid), 0x1F00) is None


# The tools answer as Apple's do; what they were called with is checked by the stand-ins themselves.
TOOLS = {
    "atos": """
assert sys.argv[1] == "-o" and sys.argv[2].endswith("/DWARF/libfoo.dylib"), sys.argv
assert sys.argv[3:7] == ["-arch", "arm64", "-l", "0x100000000"], sys.argv
print({
    "0x100001f00": "foo_close (in libfoo.dylib) (foo.c:12)",
    "0x100001f40": "-[Foo open:] (in libfoo.dylib) + 24",
    "0x100001f50": "std::map<int, (anonymous namespace)::X>::at(int) (in libfoo.dylib) (foo.cc:3)",
}.get(sys.argv[7], sys.argv[7]))
""",
    "dwarfdump": f"""
assert sys.argv[1] == "--uuid", sys.argv
print("UUID: {UUID} (arm64) " + sys.argv[2] + "/Contents/Resources/DWARF/libfoo.dylib")
""",
    "mdfind": f"""
if sys.argv[1] == "com_apple_xcode_dsym_uuids == {UUID}":
    print("/Users/developer/Archives/libfoo.dylib.dSYM")
""",
}


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    for name, text in TOOLS.items():
        (directory / name).write_text(f"#!{sys.executable}\nimport sys\n{text}")
        (directory / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return directory


class TestAtos:
    @pytest.mark.parametrize(
        ("offset", "expected"),
        [
            (0x1F00, Symbol("foo_close", None, "foo.c", 12)),
            (0x1F40, Symbol("-[Foo open:]", 24)),
            (0x1F50, Symbol("std::map<int, (anonymous namespace)::X>::at(int)", None, "foo.cc", 3)),
            (0x9999, None),
        ],
    )
    @pytest.mark.parametrize("local", [True, False], ids=["directory", "Spotlight"])
    def test_offset(
        self, tools: Path, tmp_path: Path, offset: int, expected: Symbol | None, *, local: bool
    ) -> None:
        if local:
            (tmp_path / "symbols" / "libfoo.dylib.dSYM").mkdir(parents=True)
        atos = Atos(str(tools / "atos"), [tmp_path / "symbols"] if local else [])

        assert atos.symbol(IMAGE, offset) == expected

    def test_a_program_that_is_not_stripped_has_its_own_symbols(self, tools: Path, tmp_path: Path) -> None:
        """The file that was loaded is asked last, and only if it still is of the same build."""
        (tools / "mdfind").unlink()
        program = tmp_path / "Contents" / "Resources" / "DWARF"
        (tools / "dwarfdump").write_text(
            f"#!{sys.executable}\nimport sys\nassert sys.argv[1] == '--uuid', sys.argv\n"
            f"print('UUID: {UUID} (arm64) ' + sys.argv[2])\n"
        )
        atos = Atos(str(tools / "atos"), [])
        loaded = IMAGE._replace(arch="", path=str(program / "libfoo.dylib"))

        assert atos.symbol(loaded, 0x1F00) == Symbol("foo_close", None, "foo.c", 12)
        assert atos.symbol(loaded._replace(uuid="1" * 32), 0x1F00) is None

    def test_unknown_image(self, tools: Path) -> None:
        assert Atos(str(tools / "atos"), []).symbol(IMAGE._replace(uuid="0" * 32), 0) is None

    def test_without_its_tools(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))

        assert Atos(str(tmp_path / "atos"), []).symbol(IMAGE, 0) is None


@pytest.mark.parametrize(("status", "expected"), [(0, Atos), (2, DebugFiles)])
def test_atos_is_used_where_developer_tools_are_installed(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, expected: type
) -> None:
    """Without them /usr/bin/atos opens a window that offers them."""
    pytest.importorskip("symbolic")
    (tools / "xcode-select").write_text(f"#!/bin/sh\n[ $1 = --print-path ] && exit {status}\n")
    (tools / "xcode-select").chmod(0o755)
    monkeypatch.setattr(sys, "platform", "darwin")

    assert isinstance(open_symbolizer([tmp_path]), expected)


def test_places_are_asked_for_one_time() -> None:
    asked = []

    class Counting:
        def symbol(self, image: Image, offset: int) -> Symbol | None:
            asked.append(offset)
            return Symbol(image.name, offset) if offset else None

    cached = CachedSymbolizer(Counting())
    found = [cached.symbol(IMAGE, offset) for offset in (1, 0, 1, 0)]

    assert found == [Symbol("libfoo.dylib", 1), None] * 2
    assert asked == [1, 0]


def test_a_copy_of_a_report_has_the_names_in_all_threads(debug_files: DebugFiles) -> None:
    frames = [
        {"imageOffset": 4, "symbol": "mach_msg2_trap", "symbolLocation": 8, "imageIndex": 0},
        {"imageOffset": 0x1F24, "symbol": "old", "sourceLine": 1, "imageIndex": 1},
        {"imageOffset": 0x1F00, "imageIndex": 9},
        {"imageOffset": "4", "imageIndex": True},
    ]
    images = [{"name": "libsystem_kernel.dylib", "uuid": "0" * 32}, {"name": "a", "uuid": UUID}, None]
    threads = [{"frames": frames[:1]}, {"id": 2, "frames": frames}, 7]
    body = {"threads": threads, "usedImages": images, "rawCodes": [2305843030688530432, 0]}
    data = b'{"bug_type":"309"}\n' + json.dumps(body).encode()
    copy = symbolicated_copy(data, debug_files)

    assert copy is not None
    head, _, rest = copy.partition(b"\n")
    assert head == b'{"bug_type":"309"}'
    frames[1] = {
        "imageOffset": 0x1F24,
        "symbol": "foo_close",
        "symbolLocation": 0x24,
        "sourceFile": "/src/foo.c",
        "sourceLine": 13,
        "imageIndex": 1,
    }
    assert json.loads(rest) == body


@pytest.mark.parametrize(
    "data", [b"", b"text", b"{}", b"{}\n[]", b'{}\n{"threads": 7}', b"{}\n" + b"[" * 100_000]
)
def test_what_is_not_a_report_has_no_copy(debug_files: DebugFiles, data: bytes) -> None:
    assert symbolicated_copy(data, debug_files) is None


def test_a_missing_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SymbolizerError, match=f"{tmp_path}/none: not a directory"):
        open_symbolizer([tmp_path / "none"])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "symbolic", None)
    monkeypatch.setattr(shutil, "which", lambda _: None)

    with pytest.raises(SymbolizerError, match=r"excguard\[symbols\]"):
        open_symbolizer([tmp_path])


def test_report_names_its_frames(tmp_path: Path) -> None:
    """By the image's UUID and the offset; frames of other images stay as they are."""
    pytest.importorskip("symbolic")
    (tmp_path / "libfoo.sym").write_text(BREAKPAD)
    frames = [
        {"imageOffset": 4096, "symbol": "mach_msg2_trap", "symbolLocation": 8, "imageIndex": 0},
        {"imageOffset": 0x1F24, "imageIndex": 1},
    ]
    images = [
        {"name": "libsystem_kernel.dylib", "uuid": "0" * 32, "base": 1 << 32},
        {
            "name": "libfoo.dylib",
            "uuid": UUID.lower(),
            "arch": "arm64",
            "base": 1 << 33,
            "path": "/opt/libfoo.dylib",
        },
    ]
    body = {
        "procName": "App",
        "exception": {"type": "EXC_GUARD", "subtype": "GUARD_TYPE_MACH_PORT", "rawCodes": [163587843, 0]},
        "termination": {"namespace": "GUARD", "code": INVALID_NAME},
        "threads": [{"triggered": True, "frames": frames}],
        "usedImages": images,
    }
    path = tmp_path / "a.ips"
    path.write_text(f'{{"bug_type":"309","os_version":"macOS 26.4 (25E246)"}}\n{json.dumps(body)}')

    done = CliRunner().invoke(main, ["report", "--json", "--dsym", str(tmp_path), str(path)])

    first, second = json.loads(done.stdout)["frames"]
    assert (first["symbol"], first["source"]) == ("mach_msg2_trap", "")
    assert (second["symbol"], second["symbol_offset"]) == ("foo_close", 0x24)
    assert (second["source"], second["path"]) == ("/src/foo.c:13", "/opt/libfoo.dylib")


def test_report_without_a_symbolizer_is_misuse(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "excguard", "report", "--dsym", str(tmp_path / "none"), "x.ips"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith(f"excguard: {tmp_path}/none: not a directory")
