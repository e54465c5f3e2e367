"""Signs a thin Mach-O file ad hoc, as `codesign --sign -` does: page hashes that no identity vouches for.

zig's linker signs arm64 code only. A process with hardened runtime maps no unsigned code on either processor.
Layout: osfmk/kern/cs_blobs.h and EXTERNAL_HEADERS/mach-o/loader.h, xnu-11417.121.6.
"""

from __future__ import annotations

import hashlib
import struct

from tests.macos import dyld_rules

_HEADER_SIZE = 32  # mach_header_64
_DIRECTORY = struct.Struct(">9I4BI3IQ3Q")  # CS_CodeDirectory of version 0x20400
_VERSION = 0x20400
_CS_EXECSEG_MAIN_BINARY = 1
_PAGE_SHIFT = 12
_PAGE = 0x4000  # the largest: memory beyond the file is zero on either processor
_SEGMENT = struct.Struct("<2I16s4Q")  # LC_SEGMENT_64: command, size, name, address, memory, offset, file size


def sign(content: bytes, identifier: str) -> bytes:
    """The file with a signature; itself if it has one.

    Raises ValueError when its header has no room for another load command.
    """
    file = dyld_rules.read(content)
    if file.all(dyld_rules.LC_CODE_SIGNATURE):
        return content
    segments = {segment.name: segment for segment in file.segments}
    linkedit, text = segments["__LINKEDIT"], segments["__TEXT"]
    end = file.commands_end
    if any(content[end : end + 16]):
        raise ValueError("no room for another load command")

    start = (len(content) + 15) & ~15
    name = identifier.encode() + b"\0"
    pages = -(-start // (1 << _PAGE_SHIFT))
    hashes_at = _DIRECTORY.size + len(name)
    directory_size = hashes_at + 32 * pages
    size = 20 + directory_size

    signed = bytearray(content.ljust(start, b"\0"))
    struct.pack_into("<2I", signed, 16, len(file.commands) + 1, end - _HEADER_SIZE + 16)
    struct.pack_into("<4I", signed, end, dyld_rules.LC_CODE_SIGNATURE, 16, start, size)
    at = _HEADER_SIZE
    for command, body in file.commands:
        fields = list(_SEGMENT.unpack_from(content, at)) if command == dyld_rules.LC_SEGMENT_64 else []
        if fields and fields[2].rstrip(b"\0") == b"__LINKEDIT":
            fields[6] = start + size - linkedit.offset
            fields[4] = -(-fields[6] // _PAGE) * _PAGE
            _SEGMENT.pack_into(signed, at, *fields)
        at += len(body)

    main = _CS_EXECSEG_MAIN_BINARY if file.filetype == dyld_rules.MH_EXECUTE else 0
    directory = _DIRECTORY.pack(
        dyld_rules.CSMAGIC_CODEDIRECTORY,
        directory_size,
        _VERSION,
        dyld_rules.CS_ADHOC,
        hashes_at,
        _DIRECTORY.size,
        0,  # special slots
        pages,
        start,
        *(32, 2, 0, _PAGE_SHIFT),  # SHA-256
        *(0, 0, 0, 0),  # spare, scatter, team, spare
        0,  # 64-bit limit
        *(text.offset, text.file_size, main),
    )
    hashes = b"".join(
        hashlib.sha256(signed[page << _PAGE_SHIFT : (page + 1) << _PAGE_SHIFT]).digest()
        for page in range(pages)
    )
    blob = struct.pack(">5I", dyld_rules.CSMAGIC_EMBEDDED_SIGNATURE, size, 1, 0, 20)
    return bytes(signed) + blob + directory + name + hashes
