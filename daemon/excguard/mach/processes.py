"""Processes that are not ours to wait for: their children, and the programs that they run (libproc.h)."""

import os
from typing import Final

from excguard.native import ffi, lib

_ROOM: Final = 4096  # processes in one list
_MAX_PATH: Final = int(lib.PROC_PIDPATHINFO_MAXSIZE)


def children(pid: int) -> list[int]:
    """The children of a process; none when there is no such process."""
    buffer = ffi.new("int[]", _ROOM)
    count = lib.proc_listchildpids(pid, buffer, ffi.sizeof(buffer))
    return list(buffer[0:count]) if count > 0 else []


def group(number: int) -> list[int]:
    """The members of a process group; none when there is no such group. On a Mac the dead ones count, too."""
    buffer = ffi.new("int[]", _ROOM)
    count = lib.proc_listpgrppids(number, buffer, ffi.sizeof(buffer))
    return list(buffer[0:count]) if count > 0 else []


def path(pid: int) -> str:
    """The path of the program that a process runs; empty when it has ended or belongs to another user."""
    buffer = ffi.new("char[]", _MAX_PATH)
    length = lib.proc_pidpath(pid, buffer, _MAX_PATH)
    return os.fsdecode(bytes(ffi.buffer(buffer, length))) if length > 0 else ""
