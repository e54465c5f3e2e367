"""The slices of a Mach-O file, as far as they decide what may be loaded into the process.

Layouts and numbers: mach-o/fat.h, mach-o/loader.h and mach/machine.h of Apple's SDK. The header of a
universal file is big-endian, slices are little-endian on every machine that macOS 12 runs on.
"""

import struct
from pathlib import Path
from typing import BinaryIO, Final

from excguard.files import bounded
from excguard.knowledge.record import Record
from excguard.targets.code_signature import Signature, SignatureError

_FAT: Final = {0xCAFEBABE: struct.Struct(">5I"), 0xCAFEBABF: struct.Struct(">2I2Q2I")}
_MAGIC_64: Final = 0xFEEDFACF
_EXECUTE: Final = 2  # MH_EXECUTE
_SEGMENT_64: Final = 0x19  # LC_SEGMENT_64
_CODE_SIGNATURE: Final = 0x1D  # LC_CODE_SIGNATURE
_X86_64: Final = 0x01000007  # CPU_TYPE_X86_64
_ARM64: Final = 0x0100000C  # CPU_TYPE_ARM64
_ARM64E: Final = 2  # CPU_SUBTYPE_ARM64E
_64_BITS: Final = 0x01000000  # CPU_ARCH_ABI64
_SUBTYPE: Final = 0x00FFFFFF  # without CPU_SUBTYPE_MASK, its capability bits
_MAX_SLICES: Final = 32  # a Java class file begins with the same number, and the version of its compiler
_MAX_COMMANDS: Final = 1 << 20


class MachOError(ValueError):
    """A file that is not a Mach-O file, or is damaged."""


class Slice(Record):
    """The code for one architecture.

    Attributes:
        architecture: ``arm64``, ``arm64e``, ``x86_64``; another one's number in hexadecimal.
        program: whether it is a main program (and not a library).
        restricted: whether it has a ``__RESTRICT`` segment, which makes dyld ignore its variables.
        signature: None when it is not signed.
    """

    architecture: str
    program: bool
    restricted: bool
    signature: Signature | None


def read(path: Path) -> list[Slice]:
    """The slices of a file.

    Raises:
        MachOError: it is not a Mach-O file, or is damaged.
        OSError: the file cannot be read.
    """
    try:
        with bounded.regular(path) as file:
            return [_slice(file, offset) for offset in _offsets(file)]
    except (struct.error, SignatureError) as error:
        raise MachOError(f"{path}: damaged: {error}") from error


def _offsets(file: BinaryIO) -> list[int]:
    (magic,) = struct.unpack(">I", file.read(4))
    if magic not in _FAT:
        return [0]
    (count,) = struct.unpack(">I", file.read(4))
    if count > _MAX_SLICES:
        raise MachOError("not a universal file")
    layout = _FAT[magic]
    entries = [layout.unpack(file.read(layout.size)) for _ in range(count)]
    return [offset for cpu, _subtype, offset, *_rest in entries if cpu & _64_BITS]


def _slice(file: BinaryIO, offset: int) -> Slice:
    file.seek(offset)
    magic, cpu, subtype, kind, count, size, _flags, _ = struct.unpack("<8I", file.read(32))
    if magic != _MAGIC_64:
        raise MachOError("not a Mach-O file for 64-bit processors")
    if size > _MAX_COMMANDS:
        raise MachOError(f"{size} bytes of load commands")
    commands = file.read(size)
    restricted = False
    signature = None
    at = 0
    for _ in range(count):
        command, length = struct.unpack_from("<2I", commands, at)
        if length < 8:
            raise MachOError(f"a load command of {length} bytes")
        if command == _SEGMENT_64:
            name = commands[at + 8 : at + 24].rstrip(b"\0")
            restricted = restricted or name == b"__RESTRICT"
        elif command == _CODE_SIGNATURE:
            if signature is not None:
                raise MachOError("several code signatures")
            (start,) = struct.unpack_from("<I", commands, at + 8)
            signature = Signature.read(file, offset + start)
        at += length
    return Slice(_architecture(cpu, subtype & _SUBTYPE), kind == _EXECUTE, restricted, signature)


def _architecture(cpu: int, subtype: int) -> str:
    if cpu == _ARM64:
        return "arm64e" if subtype == _ARM64E else "arm64"
    return "x86_64" if cpu == _X86_64 else f"{cpu:#x}"
