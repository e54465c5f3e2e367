"""Where the EXC_GUARD of a task is delivered: exception ports, with behaviors that hand out no control port.

An exception behavior says what the kernel puts into the message. `EXCEPTION_DEFAULT` and the other old ones
send ports that control the task and the thread, so a process that gets hold of such a message controls the
program; hardened programs refuse them. Only the two protected behaviors can be asked for here, always with
`MACH_EXCEPTION_CODES`, without which the numbers would be cut to 32 bits.
"""

from typing import Final

from excguard.knowledge.exception_behavior import Behavior
from excguard.knowledge.record import Record
from excguard.mach.errors import UnsupportedReleaseError, check
from excguard.mach.host import Host, version
from excguard.mach.ports import PORT_DEAD, PORT_NULL, ReceiveRight, SendRight
from excguard.native import ffi, lib

# The release whose kernel first has it: osfmk/mach/port.h of xnu-11215.1.10.
_EXCEPTION_PORT_SINCE: Final = "15"

# The state flavor that excguard asks for, by architecture: ARM_THREAD_STATE64 (mach/arm/thread_status.h) and
# x86_THREAD_STATE64 (mach/i386/thread_status.h). No header has both at once.
_STATE_FLAVORS: Final = {"arm64": 6, "x86_64": 4}


def kernel_value(behavior: Behavior) -> int:
    """The kernel's number for a behavior: its ``EXCEPTION_`` constant and `MACH_EXCEPTION_CODES`.

    Raises:
        ValueError: "auto", which stands for one of the others and is never registered.
    """
    if behavior is Behavior.AUTO:
        raise ValueError('behavior "auto" is for configurations: register one of the others')
    protected = (
        lib.EXCEPTION_IDENTITY_PROTECTED
        if behavior is Behavior.IDENTITY_PROTECTED
        else lib.EXCEPTION_STATE_IDENTITY_PROTECTED
    )
    return int(protected) | int(lib.MACH_EXCEPTION_CODES)


def state_flavor(behavior: Behavior, host: Host) -> int:
    """The thread state that the kernel is asked to send; 0 for none.

    Raises:
        UnsupportedReleaseError: the registers of this machine's architecture are not known.
    """
    if behavior is Behavior.IDENTITY_PROTECTED:
        # Valid on every architecture, unlike THREAD_STATE_NONE, whose number depends on the one that this
        # process was built for (set_exception_ports_validation, osfmk/kern/ipc_tt.c of xnu-11417.121.6).
        return 0
    if host.machine not in _STATE_FLAVORS:
        raise UnsupportedReleaseError(
            f'behavior "{behavior.value}" is for arm64 and x86_64, and this machine is {host.machine}; '
            f'use "{Behavior.IDENTITY_PROTECTED.value}"'
        )
    return _STATE_FLAVORS[host.machine]


def check_supported(behavior: Behavior, host: Host) -> None:
    """Refuse a system that cannot deliver exceptions with this behavior.

    Raises:
        UnsupportedReleaseError: the release is too old, or the machine's registers are not known.
    """
    state_flavor(behavior, host)
    if host.version < version(behavior.since):
        older = Behavior.IDENTITY_PROTECTED
        alternative = f'; use "{older.value}"' if host.version >= version(older.since) else ""
        raise UnsupportedReleaseError(
            f'behavior "{behavior.value}" needs macOS {behavior.since} or later, '
            f"and this is {host.release}{alternative}"
        )


def registration(behavior: Behavior, host: Host) -> tuple[int, int]:
    """The last two arguments of the functions that register an exception port: behavior and state flavor.

    Raises:
        UnsupportedReleaseError: see `check_supported`.
    """
    check_supported(behavior, host)
    # exception_behavior_t is signed, and MACH_EXCEPTION_CODES its sign bit.
    return int(ffi.cast("exception_behavior_t", kernel_value(behavior))), state_flavor(behavior, host)


class Handler(Record):
    """One entry of what `get` found: where some exceptions of a task go.

    Attributes:
        mask: the exceptions, as ``EXC_MASK_`` bits.
        port: a send right of ours to the exception port; the caller closes it. None where the
            exceptions are not delivered.
        behavior: the kernel's number, which may be any behavior with any ``MACH_EXCEPTION_`` flags.
        flavor: the thread state flavor that is sent along.
    """

    mask: int
    port: SendRight | None
    behavior: int
    flavor: int


def construct_exception_port(host: Host) -> ReceiveRight:
    """A guarded port for exceptions: `MPO_EXCEPTION_PORT` where the kernel has it, plain before macOS 15.

    Such a port cannot be moved to another task. (A port that was checked in with launchd never serves here:
    kernels from macOS 26 on watch for it and are about to refuse it.)

    Raises:
        MachError: see `mach_port_construct`.
    """
    kind = lib.MPO_EXCEPTION_PORT if host.version >= version(_EXCEPTION_PORT_SINCE) else 0
    return ReceiveRight.construct(kind, guarded=True)


def set_port(
    host: Host, port: SendRight | None, behavior: Behavior, *, task: SendRight | None = None
) -> None:
    """Have the EXC_GUARD of a task sent to ``port``; None: not delivered at the level of the task.

    Args:
        host: the running system, which has to support ``behavior``.
        port: where to; the caller keeps its right.
        behavior: what the message contains.
        task: a right to its control port; None for this task.

    Raises:
        UnsupportedReleaseError: see `check_supported`.
        MachError: see `task_set_exception_ports`; ``KERN_DENIED`` from a hardened task.
    """
    check(
        "task_set_exception_ports",
        lib.task_set_exception_ports(
            _name_of(task),
            lib.EXC_MASK_GUARD,
            PORT_NULL if port is None else port.name,
            *registration(behavior, host),
        ),
    )


def get(*, task: SendRight | None = None) -> list[Handler]:
    """Where the EXC_GUARD of a task goes now; at most one entry.

    Raises:
        MachError: see `task_get_exception_ports`.
    """
    old = _Handlers()
    check(
        "task_get_exception_ports",
        lib.task_get_exception_ports(_name_of(task), lib.EXC_MASK_GUARD, *old.arguments),
    )
    return old.taken()


def swap(
    host: Host, port: SendRight | None, behavior: Behavior, *, task: SendRight | None = None
) -> list[Handler]:
    """`set_port` and `get` in one atomic step: the previous handlers are returned.

    Raises:
        UnsupportedReleaseError: see `check_supported`.
        MachError: see `task_swap_exception_ports`.
    """
    old = _Handlers()
    check(
        "task_swap_exception_ports",
        lib.task_swap_exception_ports(
            _name_of(task),
            lib.EXC_MASK_GUARD,
            PORT_NULL if port is None else port.name,
            *registration(behavior, host),
            *old.arguments,
        ),
    )
    return old.taken()


def restore(handlers: list[Handler], *, task: SendRight | None = None) -> None:
    """Put back what `swap` took away, with whatever behavior it had: it was the task's own.

    Args:
        handlers: from `swap`; their ports stay the caller's.
        task: a right to its control port; None for this task.

    Raises:
        MachError: see `task_set_exception_ports`.
    """
    for handler in handlers:
        port = PORT_NULL if handler.port is None else handler.port.name
        behavior = int(ffi.cast("exception_behavior_t", handler.behavior))  # signed, as in `registration`
        check(
            "task_set_exception_ports",
            lib.task_set_exception_ports(_name_of(task), handler.mask, port, behavior, handler.flavor),
        )


class _Handlers:
    """The four parallel arrays that the kernel fills, with room for one entry per exception type."""

    def __init__(self) -> None:
        self._masks = ffi.new("exception_mask_t[]", lib.EXC_TYPES_COUNT)
        self._count = ffi.new("mach_msg_type_number_t *", lib.EXC_TYPES_COUNT)
        self._ports = ffi.new("mach_port_t[]", lib.EXC_TYPES_COUNT)
        self._behaviors = ffi.new("exception_behavior_t[]", lib.EXC_TYPES_COUNT)
        self._flavors = ffi.new("thread_state_flavor_t[]", lib.EXC_TYPES_COUNT)
        self.arguments = (self._masks, self._count, self._ports, self._behaviors, self._flavors)

    def taken(self) -> list[Handler]:
        return [
            Handler(
                mask=self._masks[entry],
                port=None if self._ports[entry] in (PORT_NULL, PORT_DEAD) else SendRight(self._ports[entry]),
                behavior=self._behaviors[entry] & 0xFFFFFFFF,  # exception_behavior_t is a signed int
                flavor=self._flavors[entry],
            )
            for entry in range(self._count[0])
        ]


def _name_of(task: SendRight | None) -> int:
    return int(lib.mach_task_self()) if task is None else task.name
