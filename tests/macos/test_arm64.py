"""The arm64 code of the product gives what this system's build gives, to the byte.

Its parser, decoder, reply builder and journal run under an emulator (arm64_emulator.py) over the same input.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from excguard.native import ffi, lib
from tests.macos import arm64_emulator, cross, macho
from tests.macos.arm64_emulator import Emulator
from tests.support import corpus

if TYPE_CHECKING:
    from pathlib import Path

RELEASES = (101400, 101500, 120000, 130300, 140000, 140200, 150400, 260400, 270000)
CAPACITY = 8
MUTATIONS = 15
"""Of each seed message."""


def messages() -> list[bytes]:
    """The golden messages and others that are well formed, and mutations of them; always the same."""
    chance = random.Random(6)  # noqa: S311 - for tests
    seeds = corpus.seeds()
    cut = [seed[:size] for seed in seeds for size in (0, 1, 23, 24, 35, 36, len(seed) - 1)]
    return [*seeds, *cut, *(corpus.mutate(seed, chance) for seed in seeds for _ in range(MUTATIONS))]


@pytest.fixture(scope="module")
def image(macos_builds: dict[str, Path]) -> macho.Image:
    return macho.read(macos_builds["arm64"] / cross.EXTENSION, "arm64")


@pytest.fixture(scope="module")
def arm64(image: macho.Image) -> Emulator:
    return Emulator(image, arm64_emulator.MEMORY_FUNCTIONS)


@pytest.mark.parametrize("flags", [0, lib.EXCGUARD_PARSE_OFFLINE], ids=["received", "offline"])
def test_every_message_is_judged_alike(arm64: Emulator, flags: int) -> None:
    """Verdict, every field, and both replies."""
    size = ffi.sizeof("struct excguard_message")
    out = ffi.new("struct excguard_message *")
    seen = set()
    for message in messages():
        arm64.free_all()
        out_there = arm64.allocate(size)
        verdict = arm64.call("excguard_parse", arm64.allocate(message), len(message), flags, out_there)
        expected = lib.excguard_parse(message, len(message), flags, out)
        seen.add(expected)

        assert (verdict & 0xFFFFFFFF, arm64.read(out_there, size)) == (expected, bytes(ffi.buffer(out)))
        if expected != lib.EXCGUARD_TOO_SHORT:
            assert replies_there(arm64, out_there) == replies_here(out)
    assert len(seen) > 12  # the mutations really are of many kinds


def replies_here(message: Any) -> list[tuple[int, bytes]]:
    reply = ffi.new("uint8_t[]", lib.EXCGUARD_REPLY_SIZE)
    return [
        (lib.excguard_build_reply(message, code, reply) & 0xFFFFFFFF, bytes(reply))
        for code in (lib.KERN_SUCCESS, lib.KERN_FAILURE)
    ]


def replies_there(arm64: Emulator, message: int) -> list[tuple[int, bytes]]:
    reply = arm64.allocate(lib.EXCGUARD_REPLY_SIZE)
    return [
        (
            arm64.call("excguard_build_reply", message, code, reply) & 0xFFFFFFFF,
            arm64.read(reply, lib.EXCGUARD_REPLY_SIZE),
        )
        for code in (lib.KERN_SUCCESS, lib.KERN_FAILURE)
    ]


def test_every_code_is_decoded_alike(arm64: Emulator) -> None:
    """Each flavor of the tables and some that are in none, on releases where numbers changed meaning."""
    count = ffi.new("uint32_t *")
    rows = lib.excguard_guard_rows(count)
    flavors = {(rows[i].guard_type, rows[i].flavor) for i in range(count[0])}
    flavors |= {(7, 1), (0, 0), (1, 0x1FFFFFFF)}
    out = ffi.new("struct excguard_guard *")
    size = ffi.sizeof("struct excguard_guard")
    name_at = ffi.offsetof("struct excguard_guard", "kernel_name")
    for guard_type, flavor in sorted(flavors):
        for release in RELEASES:
            code = guard_type << 61 | flavor << 32 | 0xAB03
            arm64.free_all()
            there = arm64.allocate(size)
            arm64.call("excguard_guard_decode", code, release, there)
            lib.excguard_guard_decode(code, release, out)

            content = arm64.read(there, size)
            assert content[:name_at] == bytes(ffi.buffer(out))[:name_at]
            name = int.from_bytes(content[name_at:], "little")
            assert (arm64.string(name) if name else None) == (
                ffi.string(out.kernel_name) if out.kernel_name else None
            )


class File:
    """The system calls that the journal makes on arm64, over one file and a clock that stands."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.now_ns = 0

    def handlers(self) -> dict[str, arm64_emulator.Handler]:
        """What Emulator takes."""
        return {
            **arm64_emulator.MEMORY_FUNCTIONS,
            "open": lambda _: 3,
            "close": lambda _: 0,
            "flock": lambda _: 0,
            "fsync": lambda _: 0,
            "calloc": lambda cpu: cpu.allocate(cpu.argument(0) * cpu.argument(1)),
            "malloc": lambda cpu: cpu.allocate(cpu.argument(0)),
            "free": lambda _: None,
            "clock_gettime": self.clock_gettime,
            "fstat": self.fstat,
            "ftruncate": self.ftruncate,
            "lseek": self.lseek,
            "pread": self.pread,
            "pwrite": self.pwrite,
            "mmap": lambda cpu: cpu.allocate(bytes(self.content), arm64_emulator.PAGE),
            "munmap": self.munmap,
        }

    def clock_gettime(self, cpu: Emulator) -> int:
        seconds, rest = divmod(self.now_ns, 10**9)
        cpu.write(cpu.argument(1), seconds.to_bytes(8, "little") + rest.to_bytes(8, "little"))
        return 0

    def fstat(self, cpu: Emulator) -> int:
        """st_mode at 4 (a regular file, 0600), st_nlink at 6, st_size at 96 (sys/stat.h, macOS 26.4 SDK)."""
        status = bytearray(144)
        status[4:8] = (0o100600).to_bytes(2, "little") + (1).to_bytes(2, "little")
        status[96:104] = len(self.content).to_bytes(8, "little")
        cpu.write(cpu.argument(1), bytes(status))
        return 0

    def ftruncate(self, cpu: Emulator) -> int:
        size = cpu.argument(1)
        self.content = self.content[:size].ljust(size, b"\0")
        return 0

    def lseek(self, cpu: Emulator) -> int:
        """The end, or the first hole (SEEK_HOLE, 3 on macOS), which is there too: the file has none."""
        assert cpu.argument(2) in {2, 3}
        return len(self.content)

    def pread(self, cpu: Emulator) -> int:
        found = bytes(self.content[cpu.argument(3) :][: cpu.argument(2)])
        cpu.write(cpu.argument(1), found)
        return len(found)

    def pwrite(self, cpu: Emulator) -> int:
        data, at = cpu.read(cpu.argument(1), cpu.argument(2)), cpu.argument(3)
        self.content = self.content.ljust(at + len(data), b"\0")
        self.content[at : at + len(data)] = data
        return len(data)

    def munmap(self, cpu: Emulator) -> int:
        self.content = bytearray(cpu.read(cpu.argument(0), cpu.argument(1)))
        return 0


class TwoJournals:
    """One journal of this system's build and one of arm64's: every step is taken with both."""

    def __init__(self, path: Path, image: macho.Image) -> None:
        self.path = path
        self.file = File()
        self.cpu = Emulator(image, self.file.handlers())
        self.here = ffi.NULL
        self.there = 0

    def open(self, release: int) -> None:
        handle, error = ffi.new("struct excguard_journal **"), ffi.new("char[512]")
        status = lib.excguard_journal_open(bytes(self.path), CAPACITY, release, handle, error, len(error))
        assert status == lib.EXCGUARD_JOURNAL_OK, ffi.string(error)
        self.here = handle[0]
        self.file.now_ns = lib.excguard_journal_counting_since_ns(self.here)
        there, path = self.cpu.allocate(8), self.cpu.allocate(b"journal\0")
        error_there = self.cpu.allocate(512)
        result = self.cpu.call("excguard_journal_open", path, CAPACITY, release, there, error_there, 512)
        assert result & 0xFFFFFFFF == status, self.cpu.string(error_there)
        self.there = int.from_bytes(self.cpu.read(there, 8), "little")

    def step(self, name: str, *arguments: int) -> None:
        here = getattr(lib, f"excguard_journal_{name}")(self.here, *arguments)
        there = self.cpu.call(f"excguard_journal_{name}", self.there, *arguments)
        assert here is None or here == there & 0xFFFFFFFF

    def append(self, hit: Any) -> None:
        copy = self.cpu.allocate(bytes(ffi.buffer(hit)))
        here = lib.excguard_journal_append(self.here, hit)
        assert self.cpu.call("excguard_journal_append", self.there, copy) & 0xFFFFFFFF == here

    def close(self) -> None:
        lib.excguard_journal_close(self.here)
        self.cpu.call("excguard_journal_close", self.there)
        assert self.path.read_bytes() == bytes(self.file.content)


def test_the_journals_are_one_file(image: macho.Image, tmp_path: Path) -> None:
    """Hits past the ring's end, refusals, reply times, records given back, and opening on another release."""
    chance = random.Random(3)  # noqa: S311 - for tests
    count = ffi.new("uint32_t *")
    rows = lib.excguard_guard_rows(count)
    two = TwoJournals(tmp_path / "journal", image)
    for release in (260400, 260400, 150400):
        two.open(release)
        for number in range(24):
            row = rows[chance.randrange(count[0])]
            flavor = chance.choice([row.flavor, row.flavor, chance.randrange(1 << 29)])
            hit = {field: chance.randrange(1 << 32) for field in ("pid", "state_flavor", "state_count")}
            hit |= {field: chance.randrange(1 << 64) for field in ("thread_id", "subcode", "pc", "lr", "sp")}
            hit |= {"time_ns": two.file.now_ns + number, "reply": 5, "behavior": 4, "flags": number % 4}
            code = row.guard_type << 61 | flavor << 32 | number
            two.append(ffi.new("struct excguard_hit *", hit | {"code": code, "target_id": 1 + number % 3}))
            two.step("reject", chance.randrange(lib.EXCGUARD_VERDICT_COUNT))
            two.step("reply_time", 1 << chance.randrange(40))
            if number % 5 == 4:
                two.step("advance", 3)
        two.close()
