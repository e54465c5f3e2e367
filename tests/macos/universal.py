"""Universal ("fat") Mach-O files: several architectures in one file, as `lipo -create` writes them.

Layout: mach-o/fat.h, macOS 26.4 SDK. A big-endian header lists the slices; each begins on a page of the
largest page size, 16 KiB, as dyld requires for arm64.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FAT_MAGIC = 0xCAFEBABE
ALIGNMENT = 14  # a power of two
CPU_TYPES = {"x86_64": (0x01000007, 3), "arm64": (0x0100000C, 0)}
"""Architecture -> cputype and cpusubtype (mach/machine.h)."""


def merge(slices: dict[str, Path], destination: Path) -> None:
    """Writes one file that holds the Mach-O files of `slices` (architecture -> path) byte for byte."""
    offset = 1 << ALIGNMENT
    header = struct.pack(">II", FAT_MAGIC, len(slices))
    body = b""
    for arch in sorted(slices, key=CPU_TYPES.__getitem__):
        content = slices[arch].read_bytes()
        cpu, subtype = CPU_TYPES[arch]
        if struct.unpack_from("<II", content, 4) != (cpu, subtype):
            raise ValueError(f"{slices[arch]} is not a Mach-O file for {arch}")
        header += struct.pack(">IIIII", cpu, subtype, offset + len(body), len(content), ALIGNMENT)
        body += content + bytes(-len(content) % (1 << ALIGNMENT))
    destination.write_bytes(header.ljust(offset, b"\0") + body)
