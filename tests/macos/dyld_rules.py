"""What dyld refuses in a dylib or program, rule by rule, so that such a file is found out without a Mac.

The rules are those of dyld-1378: mach_o/UnsafeHeader.cpp (header, load commands, segments),
mach_o/Image.cpp (content of __LINKEDIT), mach_o/Universal.cpp, at their strictest, as for a file built with
the newest SDK (mach_o/Policy.cpp). Beside them: what the kernel's mmap needs of a segment, and the ad-hoc
signature that arm64 code must bear.

Structs and constants: mach-o/loader.h, mach-o/fat.h, kern/cs_blobs.h.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MH_MAGIC_64 = 0xFEEDFACF
MH_EXECUTE, MH_DYLIB, MH_BUNDLE = 2, 6, 8
MH_PIE = 0x200000
LC_REQ_DYLD = 0x80000000
LC_SYMTAB, LC_DYSYMTAB, LC_SEGMENT_64, LC_UUID = 0x2, 0xB, 0x19, 0x1B
LC_LOAD_DYLIB, LC_ID_DYLIB, LC_LOAD_WEAK_DYLIB = 0xC, 0xD, 0x18 | LC_REQ_DYLD
LC_REEXPORT_DYLIB, LC_LOAD_UPWARD_DYLIB, LC_RPATH = 0x1F | LC_REQ_DYLD, 0x23 | LC_REQ_DYLD, 0x1C | LC_REQ_DYLD
LC_DYLD_INFO, LC_DYLD_INFO_ONLY, LC_BUILD_VERSION = 0x22, 0x22 | LC_REQ_DYLD, 0x32
LC_CODE_SIGNATURE, LC_FUNCTION_STARTS, LC_DATA_IN_CODE = 0x1D, 0x26, 0x29
LC_MAIN = 0x28 | LC_REQ_DYLD
LC_DYLD_EXPORTS_TRIE, LC_DYLD_CHAINED_FIXUPS = 0x33 | LC_REQ_DYLD, 0x34 | LC_REQ_DYLD
LINKED = {LC_LOAD_DYLIB, LC_LOAD_WEAK_DYLIB, LC_REEXPORT_DYLIB, LC_LOAD_UPWARD_DYLIB}
LINKEDIT_DATA = {
    LC_CODE_SIGNATURE: "code signature",
    LC_FUNCTION_STARTS: "function starts",
    LC_DATA_IN_CODE: "data in code",
    LC_DYLD_EXPORTS_TRIE: "exports trie",
    LC_DYLD_CHAINED_FIXUPS: "chained fixups",
}
KNOWN_REQUIRED = {
    *LINKED,
    LC_RPATH,
    LC_MAIN,
    LC_DYLD_INFO_ONLY,
    LC_DYLD_EXPORTS_TRIE,
    LC_DYLD_CHAINED_FIXUPS,
}
SIZES = {LC_SYMTAB: 24, LC_DYSYMTAB: 80, LC_UUID: 24, LC_DYLD_INFO_ONLY: 48} | dict.fromkeys(
    LINKEDIT_DATA, 16
)
PLATFORM_MACOS = 1
SG_READ_ONLY = 0x10
PAGE = {0x01000007: 0x1000, 0x0100000C: 0x4000}
"""cputype -> page size."""
PERMISSIONS = {"__TEXT": 5, "__LINKEDIT": 1, "__DATA": 3, "__DATA_CONST": 3}


@dataclass(frozen=True)
class Segment:
    """LC_SEGMENT_64, and its sections as (name, address, size)."""

    name: str
    address: int
    size: int
    offset: int
    file_size: int
    protection: int
    flags: int
    sections: list[tuple[str, int, int]]


@dataclass
class File:
    """The load commands of a Mach-O file."""

    content: bytes
    cpu: int = 0
    filetype: int = 0
    flags: int = 0
    commands_end: int = 0
    commands: list[tuple[int, bytes]] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)

    def all(self, command: int) -> list[bytes]:
        """The load commands of one kind."""
        return [body for number, body in self.commands if number == command]

    def minimum_os(self) -> tuple[int, int]:
        """Of LC_BUILD_VERSION, (12, 0)."""
        (body,) = self.all(LC_BUILD_VERSION)
        packed = struct.unpack_from("<I", body, 12)[0]
        return packed >> 16, packed >> 8 & 0xFF

    def linked(self) -> list[str]:
        """Install names of the libraries that it needs."""
        return [string(body, 8) for number, body in self.commands if number in LINKED]


def string(body: bytes, place: int) -> str:
    """The string whose offset in a load command is at `place`. Raises ValueError when it has no end."""
    offset = struct.unpack_from("<I", body, place)[0]
    return body[offset : body.index(b"\0", offset)].decode()


def read(content: bytes) -> File:
    """Reads the load commands of a thin file. Raises ValueError when they are malformed."""
    magic, cpu, _, filetype, count, size, flags, _ = struct.unpack_from("<8I", content)
    if magic != MH_MAGIC_64:
        raise ValueError("not a 64-bit Mach-O file")
    if 32 + size > len(content):
        raise ValueError("load commands exceed the file")
    file = File(content, cpu, filetype, flags, 32 + size)
    at = 32
    for number in range(count):
        command, length = struct.unpack_from("<II", content, at)
        if length < 8 or length % 4 or at + length > file.commands_end:
            raise ValueError(f"load command {number} has size {length}")
        body = content[at : at + length]
        file.commands.append((command, body))
        if command == LC_SEGMENT_64:
            file.segments.append(_segment(body))
        at += length
    return file


def _segment(body: bytes) -> Segment:
    name, address, size, offset, file_size, _, protection, sections, flags = struct.unpack_from(
        "<16sQQQQiiII", body, 8
    )
    if len(body) != 72 + 80 * sections:
        raise ValueError("a segment's load command has another size than its sections need")
    found = []
    for index in range(sections):
        label, _, start, length = struct.unpack_from("<16s16sQQ", body, 72 + 80 * index)
        found.append((label.rstrip(b"\0").decode(), start, length))
    return Segment(name.rstrip(b"\0").decode(), address, size, offset, file_size, protection, flags, found)


def _commands(file: File) -> Iterator[str]:
    for command, body in file.commands:
        if command & LC_REQ_DYLD and command not in KNOWN_REQUIRED:
            yield f"unknown load command {command:#x} that dyld must know"
        if command in SIZES and len(body) != SIZES[command]:
            yield f"load command {command:#x} has size {len(body)}"
    linked, rpaths = file.linked(), [string(body, 8) for body in file.all(LC_RPATH)]
    if not linked:
        yield "links with nothing"
    if len(set(linked)) != len(linked) or len(set(rpaths)) != len(rpaths):
        yield "a library or rpath twice"


def _kind(file: File) -> Iterator[str]:
    if len(file.all(LC_UUID)) != 1:
        yield "not exactly one LC_UUID"
    if len(file.all(LC_ID_DYLIB)) != (file.filetype == MH_DYLIB):
        yield "LC_ID_DYLIB is there once in a dylib and nowhere else"
    if file.filetype not in {MH_EXECUTE, MH_DYLIB, MH_BUNDLE}:
        yield f"filetype {file.filetype} is nothing that dyld loads"
    if len(file.all(LC_MAIN)) != (file.filetype == MH_EXECUTE):
        yield "LC_MAIN is there once in a program and nowhere else"
    if file.filetype == MH_EXECUTE and not file.flags & MH_PIE:
        yield "a program that must run at one address"
    platforms = [struct.unpack_from("<I", body, 8)[0] for body in file.all(LC_BUILD_VERSION)]
    if platforms != [PLATFORM_MACOS]:
        yield f"platforms {platforms}"


def _overlap(start: int, size: int, other: int, other_size: int) -> bool:
    return other < start + size and other + other_size > start


def _each_segment(file: File) -> Iterator[str]:
    page = PAGE[file.cpu]
    for segment in file.segments:
        name = segment.name
        if segment.offset + segment.file_size > len(file.content):
            yield f"{name} goes beyond the end of the file"
        if segment.file_size > segment.size:
            yield f"{name} has more in the file than in memory"
        if segment.protection & ~7 or segment.protection != PERMISSIONS.get(name, segment.protection):
            yield f"{name} has permissions {segment.protection}"
        if name == "__DATA_CONST" and not segment.flags & SG_READ_ONLY:
            yield "__DATA_CONST is not marked SG_READ_ONLY"
        if segment.address % page or segment.offset % page:
            yield f"{name} does not begin on a page"
        for section, start, size in segment.sections:
            if start < segment.address or start + size > segment.address + segment.size:
                yield f"section {section} lies outside of {name}"


def _segments(file: File) -> Iterator[str]:
    yield from _each_segment(file)
    by_name = {segment.name: segment for segment in file.segments}
    if len(by_name) != len(file.segments):
        yield "two segments of one name"
    if "__TEXT" not in by_name or "__LINKEDIT" not in by_name:
        yield "no __TEXT or no __LINKEDIT"
        return
    text = by_name["__TEXT"]
    if text.offset != 0 or file.commands_end > min(text.file_size, text.size):
        yield "the load commands do not lie in __TEXT"
    for a, b in combinations(file.segments, 2):
        if _overlap(a.address, a.size, b.address, b.size):
            yield f"{a.name} and {b.name} overlap in memory"
        if _overlap(a.offset, a.file_size, b.offset, b.file_size):
            yield f"{a.name} and {b.name} overlap in the file"
    for a, b in pairwise(file.segments):
        if b.address < a.address or (b.offset < a.offset and b.file_size):
            yield f"{b.name} is out of order"


def _linkedit_blobs(file: File) -> Iterator[tuple[int, int, int, str]]:
    """(offset, size, alignment, name) of all that __LINKEDIT holds."""
    for body in file.all(LC_SYMTAB):
        offset, count, strings, size = struct.unpack_from("<4I", body, 8)
        yield offset, 16 * count, 8, "symbol table"
        yield strings, size, 1, "symbol strings"
    for body in file.all(LC_DYSYMTAB):
        offset, count = struct.unpack_from("<2I", body, 56)
        yield offset, 4 * count, 4, "indirect symbols"
    for body in file.all(LC_DYLD_INFO_ONLY):
        places = struct.unpack_from("<10I", body, 8)
        names = ("rebase", "bind", "weak bind", "lazy bind", "export")
        for name, offset, size in zip(names, places[::2], places[1::2], strict=True):
            yield offset, size, 8, name
    for command, name in LINKEDIT_DATA.items():
        for body in file.all(command):
            offset, size = struct.unpack_from("<2I", body, 8)
            yield offset, size, 8, name


def _linkedit(file: File) -> Iterator[str]:
    segment = next((segment for segment in file.segments if segment.name == "__LINKEDIT"), None)
    if segment is None:
        return
    end, last = segment.offset, "its beginning"
    for offset, size, alignment, name in sorted(blob for blob in _linkedit_blobs(file) if blob[1]):
        if offset < end:
            yield f"__LINKEDIT: {name} overlaps {last}"
        if offset + size > segment.offset + segment.file_size:
            yield f"__LINKEDIT: {name} goes beyond its end"
        if offset % alignment:
            yield f"__LINKEDIT: {name} is not aligned"
        end, last = offset + size, name


def _symbol_tables(file: File) -> Iterator[str]:
    if not file.all(LC_DYSYMTAB) or not file.all(LC_SYMTAB):
        yield "no symbol table"
        return
    (dynamic,), (symbols,) = file.all(LC_DYSYMTAB), file.all(LC_SYMTAB)
    local, locals_, external, externals, undefined, undefineds = struct.unpack_from("<6I", dynamic, 8)
    total = struct.unpack_from("<I", symbols, 12)[0]
    if (local, external, undefined) != (0, locals_, external + externals):
        yield "symbols are not in the order local, external, undefined"
    if total != undefined + undefineds:
        yield "LC_SYMTAB and LC_DYSYMTAB count symbols differently"
    if any(struct.unpack_from("<I", dynamic, place)[0] for place in (68, 76)):
        yield "relocations beside dyld's fix-ups"
    if bool(file.all(LC_DYLD_INFO_ONLY)) == bool(file.all(LC_DYLD_CHAINED_FIXUPS)):
        yield "not exactly one encoding of fix-ups"


def violations(content: bytes) -> list[str]:
    """What dyld would hold against a thin Mach-O file; empty when it would load it. ValueError: malformed."""
    file = read(content)
    return [*_commands(file), *_kind(file), *_segments(file), *_linkedit(file), *_symbol_tables(file)]


def slices(content: bytes) -> dict[int, bytes]:
    """cputype -> thin file, of a universal file. Raises ValueError for what dyld refuses of one."""
    magic, count = struct.unpack_from(">II", content)
    if magic != 0xCAFEBABE:
        raise ValueError("not a universal file")
    found: dict[int, bytes] = {}
    end = 8 + 20 * count
    for index in range(count):
        cpu, subtype, offset, size, _ = struct.unpack_from(">5I", content, 8 + 20 * index)
        thin = content[offset : offset + size]
        if len(thin) != size or offset < end:
            raise ValueError("slices overlap or go beyond the end of the file")
        if offset % PAGE[cpu]:
            raise ValueError("a slice does not begin on a page")
        if struct.unpack_from("<II", thin, 4) != (cpu, subtype):
            raise ValueError("a slice is for another processor than the header says")
        found[cpu] = thin
        end = offset + size
    return found


CSMAGIC_EMBEDDED_SIGNATURE, CSMAGIC_CODEDIRECTORY = 0xFADE0CC0, 0xFADE0C02
CS_ADHOC = 0x2


def signature_errors(content: bytes) -> list[str]:
    """What is wrong with the ad-hoc signature of a thin file: it must be there, and hash every page rightly.

    The kernel refuses to run a page of arm64 code that no signature vouches for (bsd/kern/ubc_subr.c).
    """
    commands = read(content).all(LC_CODE_SIGNATURE)
    if len(commands) != 1:
        return ["no code signature"]
    start, size = struct.unpack_from("<2I", commands[0], 8)
    blob = content[start : start + size]
    magic, _, count = struct.unpack_from(">3I", blob)
    index = dict(struct.iter_unpack(">2I", blob[12 : 12 + 8 * count]))
    at = index[0]  # CSSLOT_CODEDIRECTORY
    kind, _, _, flags, hashes, _, _, pages, limit = struct.unpack_from(">9I", blob, at)
    hash_size, hash_type, _, page_shift = struct.unpack_from(">4B", blob, at + 36)
    if (magic, kind) != (CSMAGIC_EMBEDDED_SIGNATURE, CSMAGIC_CODEDIRECTORY):
        return ["not an embedded signature with a code directory"]
    errors = []
    if not flags & CS_ADHOC:
        errors.append("not an ad-hoc signature")
    if (hash_size, hash_type) != (32, 2):
        errors.append("hashes are not SHA-256")
    if limit != start:
        errors.append(f"covers {limit} bytes, the signature begins at {start}")
    page = 1 << page_shift
    if pages != -(-limit // page):
        errors.append(f"{pages} page hashes for {limit} bytes")
    for number in range(pages):
        expected = blob[at + hashes + 32 * number :][:32]
        covered = content[number * page : min((number + 1) * page, limit)]
        if hashlib.sha256(covered).digest() != expected:
            errors.append(f"page {number} has another hash")
    return errors
