"""Watching a process that runs already: its exception port is replaced by ours, and restored at the end.

The task control port that this needs is held during the two exchanges only. Unlike for a program that
excguard starts:

* the kernel refuses the control port of most processes, see `excguard doctor --pid`;
* the handler that the process had is not used while excguard is attached: a task has one handler, and after
  it comes the host's, ReportCrash;
* if excguard dies without detaching, its port dies with it, the kernel goes on to the host's handler, and the
  old one is not restored;
* descendants that were started in between keep excguard's port, which dies in the same way.
"""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

from excguard.knowledge.exception_behavior import Behavior
from excguard.mach import exception_ports, processes, tasks
from excguard.mach.errors import MachError
from excguard.mach.host import Host
from excguard.mach.ports import PortSet, ReceiveRight
from excguard.native.closeable import Closeable
from excguard.targets.delivery import refused
from excguard.targets.executable import Executable

_POLL = 0.25  # seconds between two checks whether the process still exists


class Attachment(Closeable):
    """The port of a process that was not started here.

    Attributes:
        pid: the process.
        port: its new exception port; a member of the port set.
    """

    def __init__(self, host: Host, pid: int, behavior: Behavior, port_set: PortSet) -> None:
        """Make the port; the process is not changed yet.

        Raises:
            UnsupportedReleaseError: the running system does not have ``behavior``.
            PermissionError: the process accepts no exception port but its own; the kernel may end whoever
                tries to register another one, so nothing was tried.
            MachError: the port cannot be made.
        """
        exception_ports.check_supported(behavior, host)
        path = processes.path(pid)
        if reason := refused(Executable.of(Path(path)), host):
            raise PermissionError(errno.EACCES, f"cannot attach: {reason}", path)
        self.pid = pid
        self.port: ReceiveRight = exception_ports.construct_exception_port(host)
        self._host = host
        self._behavior = behavior
        self._previous: list[exception_ports.Handler] | None = None
        try:
            self.port.move_to(port_set)
        except MachError:
            self.port.close()
            raise

    def attach(self) -> bool:
        """Replace the process's exception port by ours. True when it had one.

        Raises:
            MachError: the kernel refused (`task_for_pid`, `task_swap_exception_ports`).
        """
        with self.port.make_send() as send, tasks.control_port(self.pid) as task:
            self._previous = exception_ports.swap(self._host, send, self._behavior, task=task)
        return any(handler.port is not None for handler in self._previous)

    def detach(self) -> MachError | None:
        """Restore the handler of before. The error, if the kernel refused although the process lives."""
        previous, self._previous = self._previous, None
        if previous is None:
            return None
        try:
            if _exists(self.pid):
                with tasks.control_port(self.pid) as task:
                    exception_ports.restore(previous, task=task)
        except MachError as error:
            return error if _exists(self.pid) else None
        finally:
            for handler in previous:
                if handler.port is not None:
                    handler.port.close()
        return None

    async def ended(self, stop: Callable[[], bool]) -> None:
        """Wait until the process has ended, or ``stop`` says so."""
        while _exists(self.pid) and not stop():  # noqa: ASYNC110 - there is no event for processes that are not children
            await asyncio.sleep(_POLL)

    def close(self) -> None:
        """Detach, and close the port."""
        self.detach()
        self.port.close()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
