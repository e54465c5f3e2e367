"""Minidumps with a guard exception in them, made here: the writers' layout, byte by byte."""

import struct
from pathlib import Path

import pytest

from excguard import crash_reports
from tests.support.samples import INVALID_NAME

CODE, SUBCODE = INVALID_NAME, 0x0500000000020000
PC = 0x188FC6214


class Dump:
    """A minidump under construction: streams are appended, the directory comes last."""

    def __init__(self) -> None:
        self.data = bytearray(32)
        self.directory: list[tuple[int, int, int]] = []

    def put(self, data: bytes) -> int:
        at = len(self.data)
        self.data += data
        return at

    def stream(self, kind: int, data: bytes) -> None:
        self.directory.append((kind, len(data), self.put(data)))

    def string(self, text: str) -> int:
        encoded = text.encode("utf-16-le")
        return self.put(struct.pack("<I", len(encoded)) + encoded + b"\0\0")

    def system(self, build: str = "23E214", platform: int = 0x8101, processor: int = 12) -> None:
        name = self.string(build)
        self.stream(
            7, struct.pack("<HHHBBIIIIIHH", processor, 0, 0, 8, 1, 14, 4, 0, platform, name, 0, 0) + bytes(24)
        )

    def exception(self, kind: int, flags: int, *parameters: int, pc_at: int = 0x108) -> None:
        context = bytearray(pc_at + 8)
        struct.pack_into("<Q", context, pc_at, PC)
        where = self.put(bytes(context))
        filled = [*parameters, *[0] * (15 - len(parameters))]
        record = struct.pack("<IIIIQQII15Q", 1, 0, kind, flags, 0, 0, len(parameters), 0, *filled)
        self.stream(6, record + struct.pack("<II", len(context), where))

    def modules(self) -> None:
        name = self.string("/usr/lib/system/libsystem_kernel.dylib")
        module = struct.pack("<QIIII52s8s8sQQ", 0x188FC0000, 0x40000, 0, 0, name, b"", b"", b"", 0, 0)
        self.stream(4, struct.pack("<I", 1) + module)

    def write(self, path: Path) -> Path:
        directory = self.put(b"".join(struct.pack("<III", *entry) for entry in self.directory))
        struct.pack_into("<4sIIIIIQ", self.data, 0, b"MDMP", 0xA793, len(self.directory), directory, 0, 0, 0)
        path.write_bytes(self.data)
        return path


@pytest.mark.parametrize(
    ("processor", "pc_at", "cpu"), [(12, 0x108, "ARM-64"), (9, 0xF8, "X86-64"), (0x8003, 0x108, "ARM-64")]
)
def test_code_subcode_build_and_frame(tmp_path: Path, processor: int, pc_at: int, cpu: str) -> None:
    dump = Dump()
    dump.system(processor=processor)
    dump.modules()
    dump.exception(12, CODE >> 32, 12, CODE, SUBCODE, pc_at=pc_at)
    report = crash_reports.read(dump.write(tmp_path / "a.dmp"))
    (found,) = report.violations

    assert (found.code, found.subcode, found.flavor_name, found.release) == (
        CODE,
        SUBCODE,
        "INVALID_NAME",
        "macOS 14.4",
    )
    assert ("minidump", "macOS 14.4 (23E214)", cpu, "EXC_GUARD") == (
        report.format,
        report.os,
        report.cpu,
        report.exception_type,
    )
    if processor != 0x8003:  # Breakpad's older arm64 context is laid out otherwise
        assert [str(frame) for frame in report.frames] == ["0 libsystem_kernel.dylib+0x6214"]


def test_upper_half_only(tmp_path: Path) -> None:
    dump = Dump()
    dump.system()
    dump.exception(12, CODE >> 32)
    (found,) = crash_reports.read(dump.write(tmp_path / "a.dmp")).violations

    assert (found.code, found.guard_type, found.flavor_name, found.target) == (
        None,
        "MACH_PORT",
        "INVALID_NAME",
        None,
    )


def test_exc_crash_that_hides_a_guard(tmp_path: Path) -> None:
    dump = Dump()
    dump.system()
    dump.exception(10, 0x09C02703, 10, 0x09C02703, 0)
    (found,) = crash_reports.read(dump.write(tmp_path / "a.dmp")).violations

    assert found.code is None
    assert any("0x2703" in note for note in found.notes)


def test_another_exception(tmp_path: Path) -> None:
    dump = Dump()
    dump.system()
    dump.exception(1, 1, 1, 1, 0x10)
    report = crash_reports.read(dump.write(tmp_path / "a.dmp"))

    assert (report.violations, report.error) == ([], None)


def test_another_system(tmp_path: Path) -> None:
    dump = Dump()
    dump.system(platform=2)
    dump.exception(12, 0, 12, CODE, 0)
    report = crash_reports.read(dump.write(tmp_path / "a.dmp"))

    assert "another system" in str(report.error)


@pytest.mark.parametrize("keep", range(0, 500, 7))
def test_cut_off_anywhere(tmp_path: Path, keep: int) -> None:
    dump = Dump()
    dump.system()
    dump.modules()
    dump.exception(12, 0, 12, CODE, 0)
    whole = dump.write(tmp_path / "a.dmp").read_bytes()
    report = crash_reports.read_bytes(whole[: min(keep, len(whole) - 1)])

    assert report.violations == []
    assert report.error


def test_a_huge_dump_is_read_by_seeking(tmp_path: Path) -> None:
    dump = Dump()
    dump.system()
    dump.exception(12, 0, 12, CODE, 0)
    path = dump.write(tmp_path / "huge.dmp")
    with path.open("r+b") as file:
        file.truncate(8 << 30)  # sparse

    assert crash_reports.read(path).violations[0].code == CODE
