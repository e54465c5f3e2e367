"""Port rights as objects: each holds one right and releases it exactly once.

A *name* is a number that is valid in one task only; it stands for a *right*, and each right counts: two send
rights to one port share the name and have to be released twice. A right that is never released leaks; one
that is released twice takes the name away from its next holder, for which the kernel raises EXC_GUARD.
So here:

* a right is released by `close`, by leaving its ``with`` block, or, with a `ResourceWarning`, when it is
  forgotten;
* `detach` hands the bare name over to another owner (a message that moves the right, C code);
* a right that was closed or detached raises `ValueError` when it is used, and so does one from before a fork,
  which hands no right on.

::

    with ReceiveRight.construct(lib.MPO_REPLY_PORT) as port, port.make_send() as send:
        ...
"""

import contextlib
import os
import warnings
import weakref
from typing import Final, Self

from excguard.mach.errors import MachError, check
from excguard.native import ffi, lib
from excguard.native.closeable import Closeable

PORT_NULL: Final = 0
PORT_DEAD: Final = 0xFFFFFFFF

_held: Final["weakref.WeakSet[_Right]"] = weakref.WeakSet()


def _forget_all() -> None:
    """After a fork: the new task has none of these rights, so it must release none."""
    for right in _held:
        right._name = None  # noqa: SLF001 (of this module)
    _held.clear()


os.register_at_fork(after_in_child=_forget_all)


class _Right(Closeable):
    """One right under one name of this task."""

    def __init__(self, name: int) -> None:
        """Take over the right of this kind that the task holds under ``name``."""
        if name in (PORT_NULL, PORT_DEAD):
            raise ValueError(f"{name:#x} is not a right")
        self._name: int | None = name
        _held.add(self)

    @property
    def name(self) -> int:
        """The name, for as long as this object holds the right.

        Raises:
            ValueError: it was closed or detached.
        """
        if self._name is None:
            raise ValueError(f"this {type(self).__name__} was released or handed over before")
        return self._name

    @property
    def closed(self) -> bool:
        """Whether the right was released or handed over."""
        return self._name is None

    def detach(self) -> int:
        """Hand the right over: the caller now has to release what is under the name that is returned."""
        name = self.name
        self._name = None
        return name

    def close(self) -> None:
        """Release the right; does nothing when it was released or handed over before.

        Nor when the kernel has ended, which a simulated one may: the right ended with it.

        Raises:
            MachError: the kernel disagrees about the right. The object counts as closed all the same.
        """
        if self._name is not None:
            try:
                self._release(self.detach())
            except MachError as error:
                if error.name != "MIG_SERVER_DIED":
                    raise

    def _release(self, name: int) -> None:
        # Right for send and send-once rights and for the dead name that either may have become meanwhile.
        check("mach_port_deallocate", lib.mach_port_deallocate(_self(), name))

    def __del__(self) -> None:
        """Release a right that was forgotten, and say so."""
        if getattr(self, "_name", None) is not None:
            try:
                warnings.warn(f"{self!r} was forgotten: close it", ResourceWarning, stacklevel=1, source=self)
            finally:  # warnings may be errors
                with contextlib.suppress(MachError):  # of a kernel that is gone, say
                    self.close()

    def __repr__(self) -> str:
        """Show the kind of right and its name."""
        state = "released" if self._name is None else f"{self._name:#x}"
        return f"<{type(self).__name__} {state}>"


class SendRight(_Right):
    """The permission to send any number of messages to a port."""

    def copy(self) -> "SendRight":
        """A second, independent send right to the same port, under the same name.

        Raises:
            MachError: ``KERN_INVALID_RIGHT`` when the port has died.
        """
        check("mach_port_mod_refs", lib.mach_port_mod_refs(_self(), self.name, lib.MACH_PORT_RIGHT_SEND, 1))
        return SendRight(self.name)

    def is_dead(self) -> bool:
        """Whether the port is gone, so that this right has become a dead name."""
        return bool(_type_of(self.name) & lib.MACH_PORT_TYPE_DEAD_NAME)


class SendOnceRight(_Right):
    """The permission to send one message to a port; released unused, it sends a send-once notification."""


class DeadName(_Right):
    """A reference to a name whose port has died."""


class PortSet(_Right):
    """Receive rights that are waited on together. Its members outlive it."""

    @classmethod
    def allocate(cls) -> Self:
        """Make an empty set.

        Raises:
            MachError: see `mach_port_allocate`.
        """
        name = ffi.new("mach_port_name_t *")
        check("mach_port_allocate", lib.mach_port_allocate(_self(), lib.MACH_PORT_RIGHT_PORT_SET, name))
        return cls(name[0])

    def _release(self, name: int) -> None:
        check("mach_port_mod_refs", lib.mach_port_mod_refs(_self(), name, lib.MACH_PORT_RIGHT_PORT_SET, -1))


# What a port may be and still be moved to another task: none of the kinds that are bound to one, such as
# reply and exception ports (ipc_port_init of osfmk/ipc/ipc_port.c, xnu-11417.121.6).
_MOVABLE: Final = (
    lib.MPO_QLIMIT
    | lib.MPO_TEMPOWNER
    | lib.MPO_IMPORTANCE_RECEIVER
    | lib.MPO_INSERT_SEND_RIGHT
    | lib.MPO_STRICT
    | lib.MPO_DENAP_RECEIVER
)


class ReceiveRight(_Right):
    """A port: the one right to receive what is sent to it. Releasing it destroys the port."""

    def __init__(self, name: int, guard: int = 0, *, movable: bool = True) -> None:
        """Take over a receive right.

        Args:
            name: its name.
            guard: the value that it is guarded with, 0 for none.
            movable: whether it may go to another task. There is no way to ask the kernel: an attempt
                to move an immovable one raises a fatal EXC_GUARD.
        """
        super().__init__(name)
        self._guard = guard
        self.movable = movable

    @classmethod
    def construct(cls, flags: int = 0, *, guarded: bool = False) -> Self:
        """Make a port.

        Args:
            flags: ``MPO_`` flags that say what kind of port it is, such as `MPO_REPLY_PORT`.
            guarded: guard the right with a secret value, so that only this object can destroy the port or
                move it away.

        Raises:
            MachError: see `mach_port_construct`; ``KERN_INVALID_ARGUMENT`` for flags that this kernel does
                not know.
        """
        guard = int.from_bytes(os.urandom(8)) | 1 if guarded else 0
        options = ffi.new("mach_port_options_t *")
        options.flags = flags | (lib.MPO_CONTEXT_AS_GUARD if guarded else 0)
        name = ffi.new("mach_port_name_t *")
        check("mach_port_construct", lib.mach_port_construct(_self(), options, guard, name))
        return cls(name[0], guard, movable=not flags & ~_MOVABLE)

    def make_send(self) -> SendRight:
        """A new send right to this port, under the same name.

        Raises:
            MachError: see `mach_port_insert_right`.
        """
        check(
            "mach_port_insert_right",
            lib.mach_port_insert_right(_self(), self.name, self.name, lib.MACH_MSG_TYPE_MAKE_SEND),
        )
        return SendRight(self.name)

    def unguard(self) -> None:
        """Take off the guard that `construct` put on, so that a message may move the right away.

        Raises:
            MachError: see `mach_port_unguard`.
        """
        if self._guard:
            check("mach_port_unguard", lib.mach_port_unguard(_self(), self.name, self._guard))
            self._guard = 0

    def move_to(self, port_set: PortSet | None) -> None:
        """Make this port a member of ``port_set`` and of no other; None takes it out of its set.

        Raises:
            MachError: see `mach_port_move_member`.
        """
        after = PORT_NULL if port_set is None else port_set.name
        check("mach_port_move_member", lib.mach_port_move_member(_self(), self.name, after))

    def has_senders(self) -> bool:
        """Whether any task has a send right to this port, or one is in a message.

        Raises:
            MachError: see `mach_port_get_attributes`.
        """
        size = ffi.sizeof("mach_port_status_t") // ffi.sizeof("integer_t")
        info = ffi.new("integer_t[]", size)
        count = ffi.new("mach_msg_type_number_t *", size)
        attributes = (_self(), self.name, lib.MACH_PORT_RECEIVE_STATUS, info, count)
        check("mach_port_get_attributes", lib.mach_port_get_attributes(*attributes))
        return bool(ffi.cast("mach_port_status_t *", info).mps_srights)

    def set_queue_limit(self, messages: int) -> None:
        """Have senders wait only when so many messages are in the queue; 5 at first, 1024 at most.

        Raises:
            MachError: see `mach_port_set_attributes`.
        """
        limits = ffi.new("integer_t[]", [messages])  # mach_port_limits_t
        attributes = (_self(), self.name, lib.MACH_PORT_LIMITS_INFO, limits, len(limits))
        check("mach_port_set_attributes", lib.mach_port_set_attributes(*attributes))

    def _release(self, name: int) -> None:
        check("mach_port_destruct", lib.mach_port_destruct(_self(), name, 0, self._guard))


def names() -> dict[int, int]:
    """Every name of this task with the types of the rights under it (``MACH_PORT_TYPE_`` bits).

    Two calls that give the same have nothing leaked between them, user references of send rights excepted.

    Raises:
        MachError: see `mach_port_names`.
    """
    found = ffi.new("mach_port_name_t **"), ffi.new("mach_msg_type_number_t *")
    types = ffi.new("mach_port_type_t **"), ffi.new("mach_msg_type_number_t *")
    check("mach_port_names", lib.mach_port_names(_self(), *found, *types))
    try:
        return {found[0][0][entry]: types[0][0][entry] for entry in range(found[1][0])}
    finally:
        for array, count in (found, types):
            size = count[0] * ffi.sizeof("mach_port_name_t")  # types are as large
            check("vm_deallocate", lib.vm_deallocate(_self(), int(ffi.cast("uintptr_t", array[0])), size))


def _type_of(name: int) -> int:
    found = ffi.new("mach_port_type_t *")
    check("mach_port_type", lib.mach_port_type(_self(), name, found))
    return int(found[0])


def _self() -> int:
    return int(lib.mach_task_self())
