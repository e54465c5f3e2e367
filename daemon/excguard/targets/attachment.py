"""Watching a process that runs already: its exception port is exchanged for ours, and put back in the end.

The power over the process that this takes (its task control port) is held for the two exchanges alone. Other
limits than those of starting a program oneself:

* the kernel gives the control port to few, see `excguard doctor --pid`;
* what handled the process's guards before is not asked while excguard is attached: a task has one handler,
  and behind it comes the host's, ReportCrash;
* when excguard dies without detaching, its port dies with it, the kernel goes on to the host's handler, and
  nobody puts the old one back;
* descendants that were started meanwhile keep excguard's port, which dies in the same way.
"""

import asyncio
import os
from collections.abc import Callable

from excguard.knowledge.exception_behavior import Behavior
from excguard.mach import exception_ports, tasks
from excguard.mach.errors import MachError
from excguard.mach.host import Host
from excguard.mach.ports import PortSet, ReceiveRight
from excguard.native.closeable import Closeable

_LOOK = 0.25  # seconds between two looks at whether the process is still there


class Attachment(Closeable):
    """The port of a process that was not started here.

    Attributes:
        pid: the process.
        port: where its guards will go; a member of the port set.
    """

    def __init__(self, host: Host, pid: int, behavior: Behavior, port_set: PortSet) -> None:
        """Make the port; nothing has happened to the process yet.

        Raises:
            UnsupportedReleaseError: the running system cannot deliver ``behavior``.
            MachError: there is no port to be had.
        """
        exception_ports.check_supported(behavior, host)
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
        """Put our port in the place of the process's own. True when it had one.

        Raises:
            MachError: the kernel would not (`task_for_pid`, `task_swap_exception_ports`).
        """
        with self.port.make_send() as send, tasks.control_port(self.pid) as task:
            self._previous = exception_ports.swap(self._host, send, self._behavior, task=task)
        return any(handler.port is not None for handler in self._previous)

    def detach(self) -> MachError | None:
        """Put back what was there before. The error, if the kernel would not though the process lives."""
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
        while _exists(self.pid) and not stop():  # noqa: ASYNC110 - no event tells of others' processes
            await asyncio.sleep(_LOOK)

    def close(self) -> None:
        """Detach, and let go of the port."""
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
