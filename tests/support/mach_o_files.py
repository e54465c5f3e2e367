"""Mach-O files as small as they can be: a header, a segment, a signature. Nothing could run them."""

import plistlib
import struct
from pathlib import Path
from typing import Any

CPU = {"x86_64": (0x01000007, 3), "arm64": (0x0100000C, 0), "arm64e": (0x0100000C, 0x80000002)}
RUNTIME = 0x10000
ADHOC = 0x2


def signature(
    *,
    flags: int = ADHOC,
    team: str = "",
    platform: int = 0,
    entitlements: dict[str, Any] | None = None,
    der_only: bool = False,
) -> bytes:
    """An embedded signature: osfmk/kern/cs_blobs.h."""
    identifier, signer = b"com.example.app\0", team.encode() + b"\0" if team else b""
    size = 52 + len(identifier) + len(signer)
    directory = struct.pack(
        ">9I4B3I",
        *(0xFADE0C02, size, 0x20400, flags, size, 52, 0, 0, 0),
        *(32, 2, platform, 12),
        *(0, 0, 52 + len(identifier) if team else 0),
    )
    blobs = {0: directory + identifier + signer}
    if entitlements is not None and not der_only:
        names = {f"com.apple.security.{name}": value for name, value in entitlements.items()}
        plist = plistlib.dumps(names)
        blobs[5] = struct.pack(">2I", 0xFADE7171, 8 + len(plist)) + plist
    if entitlements is not None:
        blobs[7] = struct.pack(">2I", 0xFADE7172, 8)
    at = 12 + 8 * len(blobs)
    index, body = b"", b""
    for slot, blob in blobs.items():
        index += struct.pack(">2I", slot, at + len(body))
        body += blob
    return struct.pack(">3I", 0xFADE0CC0, at + len(body), len(blobs)) + index + body


def thin(
    architecture: str = "arm64", *, signed: bytes | None = None, kind: int = 2, segments: tuple[str, ...] = ()
) -> bytes:
    """One slice."""
    cpu, subtype = CPU[architecture]
    commands = [
        struct.pack("<2I16s4Q4I", 0x19, 72, name.encode(), 0, 0, 0, 0, 0, 0, 0, 0)
        for name in ("__TEXT", *segments)
    ]
    size = sum(map(len, commands)) + (16 if signed is not None else 0)
    if signed is not None:
        commands.append(struct.pack("<4I", 0x1D, 16, 32 + size, len(signed)))
    header = struct.pack("<8I", 0xFEEDFACF, cpu, subtype, kind, len(commands), size, 0, 0)
    return header + b"".join(commands) + (signed or b"")


def universal(*slices: bytes, bits: int = 32) -> bytes:
    """Several slices, with offsets of 32 or 64 bits: struct fat_arch or fat_arch_64."""
    magic, entry = {32: (0xCAFEBABE, ">5I"), 64: (0xCAFEBABF, ">2I2QI4x")}[bits]
    at = 8 + struct.calcsize(entry) * len(slices)
    head, body = struct.pack(">2I", magic, len(slices)), b""
    for one in slices:
        cpu, subtype = struct.unpack_from("<2I", one, 4)
        head += struct.pack(entry, cpu, subtype, at + len(body), len(one), 0)
        body += one
    return head + body


def write(path: Path, contents: bytes, mode: int = 0o755) -> Path:
    """A file of such contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
    path.chmod(mode)
    return path
