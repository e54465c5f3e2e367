"""The receiver from Python's side: the thread that replies to the kernel (`native/receiver.h`).

It has a wakeup pipe. After `Receiver.arm` the thread writes one byte to it when there is something to read.
So a storm costs one byte, not one a hit.
"""

import contextlib
import os
import threading
from typing import Any

from excguard.config import Reply
from excguard.mach.errors import MachError, check, symbolic_name
from excguard.native import ffi, lib
from excguard.native.closeable import Closeable
from excguard.pipeline.journal import Journal


class Receiver(Closeable):
    """The running thread. It replies from construction to `close`.

    Attributes:
        wakeup: the read end of the wakeup pipe.
    """

    def __init__(self, journal: Journal, port_set: int) -> None:
        """Receive from ``port_set`` into ``journal``; both must outlive this object.

        Raises:
            MachError: the kernel refuses.
            OSError: the pipe cannot be made.
        """
        self.wakeup, write_end = os.pipe()
        self._write_end = write_end
        handle = ffi.new("struct excguard_receiver **")
        try:
            os.set_blocking(self.wakeup, False)
            os.set_blocking(write_end, False)
            check(
                "excguard_receiver_start",
                lib.excguard_receiver_start(journal.handle, port_set, write_end, handle),
            )
        except BaseException:
            os.close(self.wakeup)
            os.close(write_end)
            raise
        self._handle: Any = handle[0]  # None once closed
        self._lock = threading.Lock()  # for `running`, which any thread may ask for

    def add_target(self, port: int, target_id: int, reply: Reply) -> None:
        """From now on a message to ``port`` is a hit of ``target_id``. Raises MachError."""
        policy = lib.EXCGUARD_REPLY_CONSUME if reply is Reply.CONSUME else lib.EXCGUARD_REPLY_FORWARD
        check(
            "excguard_receiver_add_target",
            lib.excguard_receiver_add_target(self._handle, port, target_id, policy),
        )
        try:
            check(
                "excguard_receiver_watch_senders",
                lib.excguard_receiver_watch_senders(self._handle, target_id),
            )
        except MachError:
            self.remove_target(target_id)
            raise

    def no_senders(self, target_id: int) -> int:
        """How many times the last process that held the target's port has gone."""
        return int(lib.excguard_receiver_no_senders(self._handle, target_id))

    def remove_target(self, target_id: int) -> None:
        """Forget a target; when this returns, its port can be destroyed. Raises MachError.

        What has arrived before is the target's; what its descendants still send ends with the port, so that
        none of it counts as a message to an unknown port.
        """
        lib.excguard_receiver_silence_target(self._handle, target_id)
        check("excguard_receiver_remove_target", lib.excguard_receiver_remove_target(self._handle, target_id))

    def set_pid(self, target_id: int, pid: int) -> None:
        """Set which process is the target's own (0: none); all others that use its port have inherited it."""
        check("excguard_receiver_set_pid", lib.excguard_receiver_set_pid(self._handle, target_id, pid))

    @property
    def running(self) -> bool:
        """Whether the thread is there and receives. From any thread."""
        with self._lock:
            return self._handle is not None and bool(self._stats().running)

    @property
    def last_error(self) -> str:
        """The name of the last error of the thread's calls to the kernel: "MACH_RCV_PORT_DIED"."""
        return symbolic_name(self._stats().last_error)

    def arm(self) -> None:
        """Ask for a byte in the wakeup pipe at the next hit. Then read the journal, and only then wait."""
        lib.excguard_receiver_arm(self._handle)

    def acknowledge(self) -> None:
        """Take what is in the wakeup pipe."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wakeup, 4096)

    def _stats(self) -> Any:  # noqa: ANN401 - a cffi pointer
        stats = ffi.new("struct excguard_receiver_stats *")
        lib.excguard_receiver_stats(self._handle, stats)
        return stats

    def close(self) -> None:
        """Stop the thread. Messages that still wait stay in their ports."""
        # Taken away first: Ctrl-C can have an exception come out of the call, and then this is called again.
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            lib.excguard_receiver_stop(handle)
            os.close(self.wakeup)
            os.close(self._write_end)
