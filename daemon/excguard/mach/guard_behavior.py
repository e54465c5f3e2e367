"""Read and set the ``task_exc_guard`` flags of a task."""

from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.mach.errors import check
from excguard.mach.ports import SendRight
from excguard.native import ffi, lib


def get(*, task: SendRight | None = None) -> GuardBehavior:
    """The flags of a task; of this one without ``task``.

    Raises:
        MachError: see `task_get_exc_guard_behavior`.
    """
    flags = ffi.new("task_exc_guard_behavior_t *")
    check("task_get_exc_guard_behavior", lib.task_get_exc_guard_behavior(_name_of(task), flags))
    return GuardBehavior(flags[0])


def set_flags(flags: GuardBehavior, *, task: SendRight | None = None) -> None:
    """Replace the flags of a task; of this one without ``task``.

    Raises:
        MachError: see `task_set_exc_guard_behavior`; ``KERN_DENIED`` from a kernel that pins them.
    """
    check("task_set_exc_guard_behavior", lib.task_set_exc_guard_behavior(_name_of(task), int(flags)))


def _name_of(task: SendRight | None) -> int:
    return int(lib.mach_task_self()) if task is None else task.name
