"""The file that runs when a command is started: a program, or the interpreter of a script."""

import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from excguard.files import bounded, errors
from excguard.knowledge.record import Record
from excguard.targets import mach_o
from excguard.targets.mach_o import MachOError, Slice

_MAX_LINE: Final = 512  # IMG_SHSIZE, bsd/sys/imgact.h: bytes that the kernel looks at for an interpreter
_MAX_INTERPRETERS: Final = 4
_ELF: Final = b"\x7fELF"
_SEGMENT: Final = struct.Struct(
    "<I4x2Q8xQ16x"
)  # type, flags, offset, address, physical address, size in file
_PT_LOAD: Final = 1
_PT_DYNAMIC: Final = 2
_PT_INTERP: Final = 3
_DT_NEEDED: Final = 1
_DT_STRTAB: Final = 5
_MAX_TABLE: Final = 1 << 20  # bytes of program headers, or of entries for the dynamic linker
_ASAN: Final = b"libasan.so"
_MAGICS: Final = (b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf", b"\xcf\xfa\xed\xfe")


class Executable(Record):
    """A program file.

    Attributes:
        path: the program; of a script, its interpreter.
        script: the script that it runs; None when the command names the program itself.
        set_id: whether it runs as another user or group than who starts it.
        slices: of a Mach-O program, one for each architecture; empty for other formats.
        elf: whether it is an ELF program that the dynamic linker loads; None when it is not an ELF program.
        sanitized: whether an ELF program has AddressSanitizer in a library, which must be loaded first.
        problem: why its format could not be read; empty when it could.
    """

    path: Path
    script: Path | None = None
    set_id: bool = False
    slices: Sequence[Slice] = ()
    elf: bool | None = None
    sanitized: bool = False
    problem: str = ""

    @classmethod
    def of(cls, program: Path) -> "Executable":
        """Look at the file of a program. `problem` states what is wrong with it."""
        script = None
        path = program
        try:
            for _ in range(_MAX_INTERPRETERS):
                interpreter = _interpreter(path)
                if interpreter is None:
                    break
                script, path = script or path, interpreter
            # The kernel follows symbolic links; the mode and the place that count are those of the file.
            path = Path(os.path.realpath(path))
            with bounded.regular(path) as file:
                mode = os.fstat(file.fileno()).st_mode
                magic = file.read(4)
            set_id = bool(mode & (stat.S_ISUID | stat.S_ISGID))
            if magic == _ELF:
                segments = _segments(path)
                # A dynamic linker, which reads LD_PRELOAD, is named.
                dynamic = any(segment.kind == _PT_INTERP for segment in segments)
                return cls(path, script, set_id, elf=dynamic, sanitized=_is_sanitized(path, segments))
            if magic not in _MAGICS:
                return cls(path, script, set_id, problem="neither a Mach-O nor an ELF program")
            return cls(path, script, set_id, slices=mach_o.read(path))
        except MachOError as error:
            return cls(path, script, problem=str(error))
        except OSError as error:
            return cls(path, script, problem=errors.reason(error))
        except OverflowError:  # an offset that no file has
            return cls(path, script, problem="damaged: an offset beyond the end of any file")

    def running_slices(self, machine: str) -> list[Slice]:
        """The slices that the kernel of a machine may choose from: native ones, or for Rosetta the others."""
        native = [one for one in self.slices if one.architecture.startswith(machine)]
        if native or machine != "arm64":
            return native
        return [one for one in self.slices if one.architecture == "x86_64"]


def _interpreter(path: Path) -> Path | None:
    """The program in the first line of a script; None for another file. Raises OSError."""
    with bounded.regular(path) as file:
        first = file.read(_MAX_LINE).partition(b"\n")[0]
    words = first[2:].split() if first.startswith(b"#!") else []
    return Path(os.fsdecode(words[0])) if words else None


class _Segment(NamedTuple):
    """A program header of an ELF file (elf.h, Elf64_Phdr)."""

    kind: int
    offset: int
    address: int
    size: int


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Bytes of a file from an offset that a damaged file may have anywhere; none where there can be none."""
    try:
        file.seek(offset)
    except (OSError, ValueError):  # beyond what a file system, or the system call, can take
        return b""
    return file.read(size)


def _segments(path: Path) -> list[_Segment]:
    """The program headers of a 64-bit ELF file; none of another."""
    with bounded.regular(path) as file:
        header = file.read(64)
        if len(header) < 64 or header[4] != 2:  # ELFCLASS64
            return []
        (offset,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<2H", header, 54)
        table = _read_at(file, offset, min(size * count, _MAX_TABLE))
    starts = range(0, len(table) - _SEGMENT.size + 1, size or _SEGMENT.size)
    return [_Segment(*_SEGMENT.unpack_from(table, start)) for start in starts]


def _is_sanitized(path: Path, segments: list[_Segment]) -> bool:
    """Whether libasan.so is among the libraries that an ELF file needs (DT_NEEDED)."""
    dynamic = next((segment for segment in segments if segment.kind == _PT_DYNAMIC), None)
    if dynamic is None:
        return False
    with bounded.regular(path) as file:
        content = _read_at(file, dynamic.offset, min(dynamic.size, _MAX_TABLE))
        entries = list(struct.iter_unpack("<2Q", content[: len(content) // 16 * 16]))
        table = next((value for tag, value in entries if tag == _DT_STRTAB), None)
        for segment in segments:
            if table is not None and segment.kind == _PT_LOAD and 0 <= table - segment.address < segment.size:
                for tag, value in entries:
                    if tag == _DT_NEEDED:
                        name = segment.offset + table - segment.address + value
                        if _read_at(file, name, len(_ASAN)) == _ASAN:
                            return True
    return False
