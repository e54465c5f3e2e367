"""The table of a rendezvous server: which rights wait for which process, and whether it lives.

A process is watched through the name port of its task, which dies with the task: a dead-name notification
comes to the server's loop. The task also goes when the process puts another program in its place (exec keeps
the pid and the claim), so `waitid` is asked what it was. Until the parent has reaped its child nobody else
can have the pid; a task that is gone and a child that is no longer ours mean that whoever has the pid now is
a stranger.
"""

import enum
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from excguard.mach.ports import ReceiveRight
from excguard.mach.rendezvous.events import Unclaimed
from excguard.mach.rendezvous.port import Port, type_of
from excguard.mach.rendezvous.requirement import Requirement
from excguard.native import ffi, lib


class State(enum.Enum):
    """Whether a process has asked; the values are the statuses that it is answered with from then on."""

    WAITING = lib.EXCGUARD_CLIENT_GRANTED
    CLAIMED = lib.EXCGUARD_CLIENT_CLAIMED_BEFORE
    REFUSED = lib.EXCGUARD_CLIENT_REFUSED


@dataclass(eq=False)
class Entry:
    """What is known of one process. It stays until the process ends: a second claim is told from none."""

    pid: int
    task_name: int = 0
    """A send right (or, later, a dead name) for the name port of its task; 0 where there is none."""
    ports: dict[int, Port] = field(default_factory=dict)
    requirement: Requirement | None = None
    state: State = State.WAITING


class LaunchLock:
    """A lock that the same thread may take again, and that knows whose it is."""

    def __init__(self) -> None:
        """Make it free."""
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
        """Whether it is the calling thread's."""
        return self._owner == threading.get_ident()


class Table:
    """Entries by process. Every method wants `lock` held.

    Attributes:
        lock: the launch lock.
        gone: what is to be told of processes that have ended; the server takes it out.
    """

    def __init__(self, notify: ReceiveRight) -> None:
        """Make an empty one; ends of processes are told to ``notify``."""
        self.lock = LaunchLock()
        self.gone: list[Unclaimed] = []
        self._notify = notify
        self._entries: dict[int, Entry] = {}
        self._by_task_name: dict[int, Entry] = {}

    def __len__(self) -> int:
        """How many processes it knows."""
        return len(self._entries)

    def __contains__(self, pid: int) -> bool:
        """Whether it knows a process of that pid, which may have ended without anybody having noticed."""
        return pid in self._entries

    def waiting(self) -> int:
        """How many have not asked yet."""
        return sum(entry.state is State.WAITING for entry in self._entries.values())

    def to_register(self, pid: int) -> Entry | None:
        """The entry for what this process may claim from now on, made if need be; None when it has ended."""
        for unwatched in [entry.pid for entry in self._entries.values() if not entry.task_name]:
            self.living(unwatched)
        entry = self.living(pid)
        if entry is None:
            entry = Entry(pid)
            # The kernel gives no name port of another user's process, such as a child that is setuid: its
            # end is noticed when somebody looks, or told by `forget`.
            if not self._watch(entry) and not _is_running_child(pid):
                return None
            self._entries[pid] = entry
            return entry
        if entry.state is not State.WAITING:
            # Once more: it had its ports, and may ask for others.
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
            here = _is_running_child(pid)
        return entry if here else self._task_has_gone(entry)

    def task_name_died(self, name: int) -> None:
        """The loop was told so. The notification brought a reference to the name, which is released."""
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
        if _is_running_child(entry.pid):
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
        """Have the loop told when the entry's process ends; False when there is no task of it to be seen."""
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
        # No longer there when the notification is on its way; that one brings a reference of its own.
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


def _is_running_child(pid: int) -> bool:
    """Whether this process has a child of that pid that has not ended; asking does not reap it."""
    info = ffi.new("siginfo_t *")  # zeroed: si_pid stays 0 while there is nothing to tell
    options = lib.WEXITED | lib.WNOHANG | lib.WNOWAIT
    return bool(lib.waitid(lib.P_PID, pid, info, options) == 0 and info.si_pid == 0)
