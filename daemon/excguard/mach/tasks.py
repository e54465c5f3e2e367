"""Control ports of other tasks. They control a whole program, so none is kept longer than a call needs it."""

from excguard.mach.errors import check
from excguard.mach.ports import SendRight
from excguard.native import ffi, lib


def control_port(pid: int) -> SendRight:
    """A send right to the control port of a process. Close it as soon as the one thing is done.

    Raises:
        MachError: ``KERN_FAILURE`` for every reason there is: no such process, another user's, one that is
            protected (bsd/kern/kern_proc.c of xnu-11417.121.6, `task_for_pid`).
    """
    task = ffi.new("mach_port_name_t *")
    check("task_for_pid", lib.task_for_pid(lib.mach_task_self(), pid, task))
    return SendRight(task[0])
