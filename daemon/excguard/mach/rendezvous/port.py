"""One right for a child: which one, and who owns it until the child has received it.

Mach's disposition decides both. Made and copied rights are created when the message is sent: the caller keeps
its own right, and must keep it until the child has sent its request. Moved rights leave this task; the `Port`
owns them from its construction, and its owner destroys it.
"""

import enum
from typing import Self

from excguard.mach.ports import ReceiveRight, SendOnceRight, SendRight
from excguard.native import ffi, lib


class Disposition(enum.IntEnum):
    """What happens to the right in this task; the values are the kernel's (mach/message.h)."""

    MOVE_RECEIVE = 16
    MOVE_SEND = 17
    MOVE_SEND_ONCE = 18
    COPY_SEND = 19
    MAKE_SEND = 20
    MAKE_SEND_ONCE = 21

    @property
    def moves(self) -> bool:
        """Whether the right leaves this task."""
        return self <= Disposition.MOVE_SEND_ONCE


class Port:
    """A right for a child. Made by the class methods, destroyed or delivered exactly once if it moves.

    Attributes:
        disposition: what happens to the right.
    """

    def __init__(self, right: ReceiveRight | SendRight | SendOnceRight, disposition: Disposition) -> None:
        """Use the class methods."""
        self._right = right
        self.disposition = disposition

    @classmethod
    def make_send(cls, port: ReceiveRight) -> Self:
        """A new send right to a port of this task's. The caller keeps ``port``."""
        return cls(port, Disposition.MAKE_SEND)

    @classmethod
    def make_send_once(cls, port: ReceiveRight) -> Self:
        """A new send-once right to a port of this task's. The caller keeps ``port``."""
        return cls(port, Disposition.MAKE_SEND_ONCE)

    @classmethod
    def copy_send(cls, right: SendRight) -> Self:
        """A copy of a send right. The caller keeps ``right``."""
        return cls(right, Disposition.COPY_SEND)

    @classmethod
    def move_send(cls, right: SendRight) -> Self:
        """This very send right. ``right`` is used up."""
        return cls(SendRight(right.detach()), Disposition.MOVE_SEND)

    @classmethod
    def move_send_once(cls, right: SendOnceRight) -> Self:
        """This very send-once right. ``right`` is used up."""
        return cls(SendOnceRight(right.detach()), Disposition.MOVE_SEND_ONCE)

    @classmethod
    def move_receive(cls, right: ReceiveRight) -> Self:
        """This very receive right. ``right`` is used up; its guard is taken off, or it could not travel.

        Raises:
            ValueError: a reply port, an exception port, a port that launchd has handed over: these are bound
                to this task, and the kernel ends a task that tries to move one. The caller keeps it.
            MachError: see `mach_port_unguard`.
        """
        if not right.movable:
            raise ValueError(
                f"{right!r} is of a kind that is bound to its task: it cannot be given to a child"
            )
        right.unguard()
        return cls(ReceiveRight(right.detach()), Disposition.MOVE_RECEIVE)

    @property
    def name(self) -> int:
        """The name of the right in this task.

        Raises:
            ValueError: the right was released meanwhile.
        """
        return self._right.name

    def destroy(self) -> None:
        """Release the right, if it is the port's own. Does nothing the second time."""
        if self.disposition.moves:
            self._right.close()

    def delivered(self) -> None:
        """A message has taken the right."""
        if self.disposition.moves:
            self._right.detach()

    def after_failed_send(self) -> None:
        """Release the right unless the message that failed took it along.

        The kernel works through a message right by right, and releases those that it had taken when it meets
        one that it cannot take (ipc_kmsg_clean_partial, osfmk/ipc/ipc_kmsg.c of xnu-11417.121.6). It does not
        say which one that was; the rights under the name do. (The name cannot have been given to another
        right: a name is not used again before its generation has gone round.)
        """
        if not self.disposition.moves:
            return
        kinds = {
            Disposition.MOVE_RECEIVE: lib.MACH_PORT_TYPE_RECEIVE,
            Disposition.MOVE_SEND: lib.MACH_PORT_TYPE_SEND | lib.MACH_PORT_TYPE_DEAD_NAME,
            Disposition.MOVE_SEND_ONCE: lib.MACH_PORT_TYPE_SEND_ONCE | lib.MACH_PORT_TYPE_DEAD_NAME,
        }
        if type_of(self.name) & kinds[self.disposition]:
            self.destroy()
        else:
            self.delivered()

    def __repr__(self) -> str:
        """Show what happens to which right."""
        return f"<Port {self.disposition.name} {self._right!r}>"


def type_of(name: int) -> int:
    """The kinds of rights under a name (``MACH_PORT_TYPE_`` bits); 0 when there is nothing."""
    found = ffi.new("mach_port_type_t *")
    return int(found[0]) if lib.mach_port_type(lib.mach_task_self(), name, found) == lib.KERN_SUCCESS else 0
