"""Guard violations in minidumps of macOS processes, as Crashpad, Breakpad and minidump-writer write them.

Only the streams that say what happened and where are read, by seeking, so the size of a dump does not
matter. Layout: google/breakpad src/google_breakpad/common/minidump_format.h. For EXC_GUARD the writers put
the exception type, the code and the subcode, whole, into the first three exception parameters;
exception_flags holds the upper half of the code only.
"""

from __future__ import annotations

import struct
from typing import IO, Any

from excguard.crash_reports.evidence import EXC_GUARD, Evidence, unpack_crash
from excguard.crash_reports.report import Frame, Report
from excguard.knowledge import guards

MAGIC = b"MDMP"

_HEADER = struct.Struct("<4sIIIIIQ")
_DIRECTORY = struct.Struct("<III")
_EXCEPTION = struct.Struct("<IIIIQQII15QII")
_SYSTEM = struct.Struct("<HHHBBIIIIIHH")
_MODULE = struct.Struct("<QIIII52s8s8sQQ")

_MODULE_LIST, _EXCEPTION_STREAM, _SYSTEM_STREAM = 4, 6, 7
_EXC_CRASH = 10
_PLATFORMS = {0x8101: "macOS", 0x8102: "iOS"}
_PROCESSORS = {0: "x86", 5: "ARM", 9: "X86-64", 12: "ARM-64", 0x8003: "ARM-64"}
_PC_OFFSETS = {9: 0xF8, 12: 0x108}  # Rip in CONTEXT_AMD64, Pc in CONTEXT_ARM64

MAX_STREAMS = 4096
MAX_MODULES = 8192
MAX_NAME = 4096


class MinidumpError(ValueError):
    """The file is not a minidump of a macOS process, or is cut off."""


def read(file: IO[bytes], report: Report) -> list[Evidence]:
    """The violation that a minidump's exception stream is of, if it is of one.

    Raises:
        MinidumpError: with what is wrong with the file.
    """
    magic, _version, count, directory, *_rest = _unpack(_HEADER, file, 0)
    if magic != MAGIC:
        raise MinidumpError("not a minidump")
    if count > MAX_STREAMS:
        raise MinidumpError(f"a minidump with {count} streams: not one that a crash reporter wrote")
    streams: dict[int, tuple[int, int]] = {}
    for index in range(count):
        kind, size, offset = _unpack(_DIRECTORY, file, directory + index * _DIRECTORY.size)
        streams.setdefault(kind, (offset, size))
    report.format = "minidump"
    processor = _system(file, streams, report)
    if _EXCEPTION_STREAM not in streams:
        report.notes.append("the minidump has no exception stream: nothing had crashed")
        return []
    fields = _unpack(_EXCEPTION, file, streams[_EXCEPTION_STREAM][0])
    exception, flags, count = fields[2], fields[3], fields[6]
    parameters = fields[8:23][: min(count, 15)]
    context_size, context = fields[23], fields[24]
    found = Evidence(origin="minidump", release=report.os)
    if exception == EXC_GUARD:
        report.exception_type = found.exception_type = "EXC_GUARD"
        if len(parameters) >= 2 and parameters[0] == EXC_GUARD:
            found.code = parameters[1]
            found.subcode = parameters[2] if len(parameters) > 2 else None
        elif flags >> 29:
            found.notes.append("the minidump holds only the upper half of the code: the target is not known")
            found.guard_type, found.flavor = guards.NAMES.get(flags >> 29), flags & 0x1FFFFFFF
        else:
            found.notes.append("the minidump's writer kept no part of the code")
    elif exception == _EXC_CRASH:
        report.exception_type = found.exception_type = "EXC_CRASH"
        packed = parameters[1] if len(parameters) >= 2 and parameters[0] == _EXC_CRASH else flags
        if unpack_crash(packed)[1] != EXC_GUARD:
            return []
        found.codes = (packed,)
    else:
        report.exception_type = f"exception {exception}"
        return []
    report.frames = _frames(file, streams, processor, context, context_size)
    return [found]


def _system(file: IO[bytes], streams: dict[int, tuple[int, int]], report: Report) -> int:
    if _SYSTEM_STREAM not in streams:
        return -1
    fields = _unpack(_SYSTEM, file, streams[_SYSTEM_STREAM][0])
    processor, major, minor, build, platform, text = fields[0], *fields[5:10]
    report.cpu = _PROCESSORS.get(processor)
    if platform not in _PLATFORMS:
        raise MinidumpError(
            f"a minidump of another system (platform {platform:#x}), which has no guard exceptions"
        )
    version = f"{major}.{minor}" + (f".{build}" if build else "")
    # The text is the OS build ("23E214"); Crashpad puts a longer version string there.
    printed = _string(file, text) if text else ""
    report.os = f"{_PLATFORMS[platform]} {version}" + (f" ({printed.split()[-1]})" if printed else "")
    return int(processor)


def _frames(
    file: IO[bytes], streams: dict[int, tuple[int, int]], processor: int, context: int, size: int
) -> list[Frame]:
    """The innermost frame: the crashed thread's program counter, with the image that it lies in."""
    at = _PC_OFFSETS.get(processor)
    if at is None or size < at + 8:
        return []
    (pc,) = _unpack(struct.Struct("<Q"), file, context + at)
    offset, _size = streams.get(_MODULE_LIST, (0, 0))
    if offset:
        (count,) = _unpack(struct.Struct("<I"), file, offset)
        for index in range(min(count, MAX_MODULES)):
            module = _unpack(_MODULE, file, offset + 4 + index * _MODULE.size)
            base, length, name = module[0], module[1], module[4]
            if base <= pc < base + length:
                path = _string(file, name)
                return [Frame(0, path.rpartition("/")[2], pc - base, pc)]
    return [Frame(0, "", None, pc)]


def _unpack(layout: struct.Struct, file: IO[bytes], offset: int) -> tuple[Any, ...]:
    file.seek(offset)
    data = file.read(layout.size)
    if len(data) < layout.size:
        raise MinidumpError(f"the minidump is cut off: nothing at byte {offset}")
    return layout.unpack(data)


def _string(file: IO[bytes], offset: int) -> str:
    (length,) = _unpack(struct.Struct("<I"), file, offset)
    return file.read(min(length, MAX_NAME)).decode("utf-16-le", "replace").strip("\0 ")
