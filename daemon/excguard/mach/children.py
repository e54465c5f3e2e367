"""Children of this process, looked at without reaping them (waitid(2)).

Until a child is reaped, no other process and no other process group gets its number.
"""

import os

from excguard.native import ffi, lib


def is_running(pid: int) -> bool:
    """Whether this process has a child of that pid that has not ended."""
    info = ffi.new("siginfo_t *")  # zeroed: si_pid stays 0 while the child runs
    options = lib.WEXITED | lib.WNOHANG | lib.WNOWAIT
    return bool(lib.waitid(lib.P_PID, pid, info, options) == 0 and info.si_pid == 0)


def has_ended(pid: int) -> bool:
    """Whether a child has ended and can be reaped.

    One that another process traces is not reported to its parent before the tracer lets go of it. On macOS it
    is not even the parent's meanwhile (``ptrace_attach`` makes it the tracer's, bsd/kern/mach_process.c,
    xnu-11417.121.6).
    """
    info = ffi.new("siginfo_t *")
    if lib.waitid(lib.P_PID, pid, info, lib.WEXITED | lib.WNOHANG | lib.WNOWAIT) == 0:
        return bool(info.si_pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True  # it was reaped
    return False


def reap(pid: int) -> int | None:
    """Reap a child that has ended.

    Returns:
        Its exit code, as `os.waitstatus_to_exitcode` has it; None when it has not ended, or is traced.
    """
    try:
        reaped, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # a tracer has it, see `has_ended`
        return None
    return os.waitstatus_to_exitcode(status) if reaped else None


def stop_signal(pid: int) -> int:
    """The signal that has stopped a child; 0 when it was not stopped since the last time."""
    info = ffi.new("siginfo_t *")
    if lib.waitid(lib.P_PID, pid, info, lib.WSTOPPED | lib.WNOHANG) == 0 and info.si_pid:
        return int(info.si_status)
    return 0
