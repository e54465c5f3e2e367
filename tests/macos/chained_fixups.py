"""Rewrites the fix-ups of a dylib from dyld's opcodes to chains, as Apple's linker writes them.

ziglang's linker only writes opcodes; files that Xcode builds for this project have chains. The rewritten
file says the same in the other encoding, so a loader must make the same memory of both.

Formats: mach-o/fixup-chains.h, macOS 26.4 SDK.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.macos import dyld_rules

if TYPE_CHECKING:
    from tests.macos.macho import Image

LC_NOTHING = 0x2B  # LC_DYLIB_CODE_SIGN_DRS, of no size: fills the room of the longer command
DYLD_CHAINED_PTR_64_OFFSET = 6
DYLD_CHAINED_IMPORT = 1
NO_FIXUPS = 0xFFFF
PAGE = 0x1000
STRIDE = 4
FLAT_LOOKUP = 0xFE


def _chain_header(image: Image, names: list[str], libraries: list[str]) -> bytes:
    """dyld_chained_fixups_header, the starts of every page's chain, the imports and their names."""
    starts = struct.pack("<I", len(image.segments))
    bodies = b""
    for segment in image.segments:
        places = _places(image, segment.address, segment.size)
        if not places:
            starts += struct.pack("<I", 0)
            continue
        starts += struct.pack("<I", 4 + 4 * len(image.segments) + len(bodies))
        pages = -(-segment.size // PAGE)
        firsts = [
            min((p % PAGE for p in places if (p - segment.address) // PAGE == page), default=NO_FIXUPS)
            for page in range(pages)
        ]
        body = struct.pack("<HHQIH", PAGE, DYLD_CHAINED_PTR_64_OFFSET, segment.address, 0, pages)
        body += struct.pack(f"<{pages}H", *firsts)
        body = struct.pack("<I", 4 + len(body)) + body
        bodies += body + bytes(-len(body) % 8)
    starts += bodies
    table, text = b"", b"\0"
    of_library = {place.name: place.library for place in image.imports}
    for name in names:
        library = of_library[name]
        ordinal = libraries.index(library) + 1 if library else FLAT_LOOKUP
        table += struct.pack("<I", ordinal | len(text) << 9)
        text += name.encode() + b"\0"
    imports_at = 32 + len(starts)
    header = struct.pack(
        "<7I",
        *(0, 32, imports_at, imports_at + len(table), len(names), DYLD_CHAINED_IMPORT, 0),
    )
    return header.ljust(32, b"\0") + starts + table + text


def _places(image: Image, start: int, size: int) -> list[int]:
    """Addresses of all fix-ups in a range, in order."""
    every = {*image.rebases, *(place.address for place in image.imports)}
    return sorted(address for address in every if start <= address < start + size)


def _write_chains(content: bytearray, image: Image, names: list[str]) -> None:
    imports = {place.address: place for place in image.imports}
    for segment in image.segments:
        places = _places(image, segment.address, segment.size)
        for place, following in zip(places, [*places, 0][1:], strict=True):
            step = (following - place) // STRIDE if following and following // PAGE == place // PAGE else 0
            if place in imports:
                value = 1 << 63 | step << 51 | imports[place].addend << 24 | names.index(imports[place].name)
            else:
                value = step << 51 | image.rebases[place]
            struct.pack_into("<Q", content, segment.file_offset + place - segment.address, value)


def rewrite(content: bytes, image: Image) -> bytes:
    """The thin file `content`, which `image` was read from, with chained fix-ups."""
    file = dyld_rules.read(content)
    names = sorted({place.name for place in image.imports})
    result = bytearray(content)
    _write_chains(result, image, names)

    chains = _chain_header(image, names, file.linked())
    result += bytes(-len(result) % 8)
    chains_at = len(result)
    result += chains
    at = 32
    for command, body in file.commands:
        if command == dyld_rules.LC_DYLD_INFO_ONLY:
            export_at, export_size = struct.unpack_from("<2I", body, 40)
            replacement = struct.pack("<4I", dyld_rules.LC_DYLD_CHAINED_FIXUPS, 16, chains_at, len(chains))
            replacement += struct.pack("<4I", dyld_rules.LC_DYLD_EXPORTS_TRIE, 16, export_at, export_size)
            replacement += struct.pack("<4I", LC_NOTHING, 16, chains_at, 0)
            result[at : at + 48] = replacement
        elif command == dyld_rules.LC_SEGMENT_64 and body[8:24].startswith(b"__LINKEDIT"):
            offset = struct.unpack_from("<Q", body, 40)[0]
            size = len(result) - offset
            struct.pack_into("<Q", result, at + 32, -(-size // PAGE) * PAGE)
            struct.pack_into("<Q", result, at + 48, size)
        at += len(body)
    struct.pack_into("<I", result, 16, len(file.commands) + 2)
    return bytes(result)
