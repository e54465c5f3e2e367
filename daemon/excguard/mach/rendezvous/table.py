"""The table of a rendezvous server: which rights wait for which process, and whether it lives.

A process is watched through the name port of its task, which dies with the task: a dead-name notification
comes to the server's loop. The task also goes when the process puts another program in its place (exec keeps
the pid and the claim), so `waitid` decides which it was. Until the parent has reaped its child no other
process can have the pid; when the task is gone and the child is no longer ours, the pid belongs to an
unrelated process.
"""

import enum
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from excguard.mach import children
from excguard.mach.ports import ReceiveRight
from excguard.mach.rendezvous.events import Unclaimed
from excguard.mach.rendezvous.port import Port, type_of
from excguard.mach.rendezvous.requirement import Requirement
from excguard.native import ffi, lib


class State(enum.Enum):
    """Whether a process has sent its request; the values are the statuses of later replies."""

    WAITING = lib.EXCGUARD_CLIENT_GRANTED
    CLAIMED = lib.EXCGUARD_CLIENT_CLAIMED_BEFORE
    REFUSED = lib.EXCGUARD_CLIENT_REFUSED


@dataclass(eq=False)
class Entry:
    """One process. The entry stays until the process ends, so that a second claim is recognized."""

    pid: int
    task_name: int = 0
    """A send right (or, later, a dead name) for the name port of its task; 0 where there is none."""
    ports: dict[int, Port] = field(default_factory=dict)
    requirement: Requirement | None = None
    state: State = State.WAITING


class LaunchLock:
    """A reentrant lock that records its owner."""

    def __init__(self) -> None:
        """Create it unlocked."""
        self._lock = threading.RLock()
        self._owner = 0
        self._depth = 0

    def __enter__(self) -> Self:
        """Take it."""
        self._lock.acquire()
        self._owner = threading.get_ident()
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of it."""
        self._depth -= 1
        if not self._depth:
            self._owner = 0
        self._lock.release()

    @property
    def held(self) -> bool:
        """Whether the calling thread holds it."""
        return self._owner == threading.get_ident()


class Table:
    """Entries by process. Every method needs `lock` held.

    Attributes:
        lock: the launch lock.
        gone: events of processes that have ended; the server takes them out.
    """

    def __init__(self, notify: ReceiveRight) -> None:
        """Create an empty table; ``notify`` receives the notifications that processes have ended."""
        self.lock = LaunchLock()
        self.gone: list[Unclaimed] = []
        self._notify = notify
        self._entries: dict[int, Entry] = {}
        self._by_task_name: dict[int, Entry] = {}

    def __len__(self) -> int:
        """The number of entries."""
        return len(self._entries)

    def __contains__(self, pid: int) -> bool:
        """Whether there is an entry of that pid; the process may have ended."""
        return pid in self._entries

    def waiting(self) -> int:
        """How many have not sent their request."""
        return sum(entry.state is State.WAITING for entry in self._entries.values())

    def to_register(self, pid: int) -> Entry | None:
        """The entry for what this process may claim from now on, made if need be; None when it has ended."""
        for unwatched in [entry.pid for entry in self._entries.values() if not entry.task_name]:
            self.living(unwatched)
        entry = self.living(pid)
        if entry is None:
            entry = Entry(pid)
            # The kernel gives no name port of another user's process, such as a child that is setuid: its
            # end is noticed at the next look-up, or by `forget`.
            if not self._watch(entry) and not children.is_running(pid):
                return None
            self._entries[pid] = entry
            return entry
        if entry.state is not State.WAITING:
            # Registered again: it received its ports, and may request others.
            entry.state, entry.requirement = State.WAITING, None
        return entry

    def living(self, pid: int) -> Entry | None:
        """The entry of the process that has this pid now. One that is older than the process is dropped."""
        entry = self._entries.get(pid)
        if entry is None:
            return None
        if entry.task_name:
            here = not type_of(entry.task_name) & lib.MACH_PORT_TYPE_DEAD_NAME
        else:
            here = children.is_running(pid)
        return entry if here else self._task_has_gone(entry)

    def task_name_died(self, name: int) -> None:
        """Handle a dead-name notification, and release the reference to the name that came with it."""
        entry = self._by_task_name.get(name)
        if entry is not None:
            self._task_has_gone(entry)
        lib.mach_port_deallocate(lib.mach_task_self(), name)

    def forget(self, pids: Iterable[int] | None = None) -> None:
        """Drop the entries of these processes; None: all."""
        for pid in list(self._entries if pids is None else pids):
            if pid in self._entries:
                self._drop(self._entries[pid])

    def _task_has_gone(self, entry: Entry) -> Entry | None:
        """The process has ended, and its entry goes; or it runs another program, which has another task."""
        if children.is_running(entry.pid):
            self._unwatch(entry)
            if self._watch(entry):
                return entry
        self._drop(entry)
        return None

    def _drop(self, entry: Entry) -> None:
        self._unwatch(entry)
        self._entries.pop(entry.pid, None)
        if entry.state is State.WAITING:
            self.gone.append(Unclaimed(entry.pid, len(entry.ports)))
        destroy(entry.ports)
        entry.ports = {}

    def _watch(self, entry: Entry) -> bool:
        """Request a notification for the end of the entry's process; False when its task is not visible."""
        name, previous = ffi.new("mach_port_name_t *"), ffi.new("mach_port_t *")
        task, once = lib.mach_task_self(), lib.MACH_MSG_TYPE_MAKE_SEND_ONCE
        while lib.task_name_for_pid(task, entry.pid, name) == lib.KERN_SUCCESS:
            wish = (name[0], lib.MACH_NOTIFY_DEAD_NAME, 0, self._notify.name, once)
            if lib.mach_port_request_notification(task, *wish, previous) == lib.KERN_SUCCESS:
                entry.task_name = name[0]
                self._by_task_name[entry.task_name] = entry
                return True
            died = type_of(name[0]) & lib.MACH_PORT_TYPE_DEAD_NAME
            lib.mach_port_deallocate(task, name[0])
            if not died:
                break
            # Another exec, or the end, has come between: one of the two is what the next look finds.
        return False

    def _unwatch(self, entry: Entry) -> None:
        if not entry.task_name:
            return
        self._by_task_name.pop(entry.task_name, None)
        previous = ffi.new("mach_port_t *")
        # Gone when the notification is already sent; that one brings a reference of its own.
        wish = (entry.task_name, lib.MACH_NOTIFY_DEAD_NAME, 0, lib.MACH_PORT_NULL, 0)
        cancelled = lib.mach_port_request_notification(lib.mach_task_self(), *wish, previous)
        if cancelled == lib.KERN_SUCCESS and previous[0]:
            lib.mach_port_deallocate(lib.mach_task_self(), previous[0])
        lib.mach_port_deallocate(lib.mach_task_self(), entry.task_name)
        entry.task_name = 0


def destroy(ports: dict[int, Port]) -> None:
    """Release what is this task's own among the ports."""
    for port in ports.values():
        port.destroy()
