"""Which processes were the targets' own, for as long as the journal can hold hits of them.

A program, and what it starts, can break a rule in the moment between its start and the receiver being given
its pid. So whether a hit is the program's own or of a process that inherited its port is decided here.
"""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from excguard.decoding.site import Place


class ProcessNames(Protocol):
    """What is known of the processes of targets, beside their numbers."""

    def executable(self, target_id: int, pid: int) -> str:
        """The path of the program of a target's process; empty when it is not known."""

    def program(self, target_id: int, pid: int) -> str:
        """The file name of the program that stands for a hit's place where that is not known.

        The same in every run: of the process where it has reported itself, else of the target. Empty when
        neither is known.
        """

    def place(self, target_id: int, pid: int, addresses: Sequence[int]) -> Place | None:
        """Where in the code a target's process is.

        Args:
            target_id: the target.
            pid: the process.
            addresses: the innermost first; of the program counter and of what it returns to.

        Returns:
            The first of them outside of the system's libraries; else the first one that lies in an image at
            all; None when none is known to.
        """


class OwnProcesses:
    """The processes of each target, of which records may still be unread.

    Attributes:
        names: what is known of processes; None: nothing.
    """

    def __init__(self) -> None:
        """Begin without processes."""
        self.names: ProcessNames | None = None
        self._pids: dict[int, dict[int, int]] = {}  # by target number: how many starts of a pid are kept
        self._ended: deque[tuple[int, int, int]] = deque()  # seq, target number, pid

    def started(self, target_id: int, pid: int) -> None:
        """A target's program runs as ``pid``."""
        pids = self._pids.setdefault(target_id, {})
        pids[pid] = pids.get(pid, 0) + 1

    def ended(self, target_id: int, pid: int, seq: int) -> None:
        """It has ended; its hits have numbers below ``seq``."""
        self._ended.append((seq, target_id, pid))

    def own(self, target_id: int, pid: int) -> bool:
        """Whether ``pid`` is, or was when unread hits were recorded, the target's own process."""
        return pid in self._pids.get(target_id, ())

    def forget(self, seq: int) -> None:
        """Every hit with a number below ``seq`` was read."""
        while self._ended and self._ended[0][0] <= seq:
            _, target_id, pid = self._ended.popleft()
            pids = self._pids[target_id]
            pids[pid] -= 1
            if not pids[pid]:
                del pids[pid]
            if not pids:
                del self._pids[target_id]
