"""Counts each hit once, however many sources report it.

A hit that came to an exception port is counted before another source can report it. What another source
reports is a new hit only if that source has now reported more hits of the kind than have been counted:

* a line of the unified log is one hit of its process, code and subcode; the kernel writes a line for each
  guard, whether or not it was delivered to a port, so the lines and the live hits of one kind are the same
  hits as far as both go;
* a crash report is the one guard that its process died of: it is new only if nothing has reported that code
  in that process.

A pid identifies a process only together with the time of its start; what was remembered of the pid's earlier
process is forgotten then.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

# What is remembered: enough processes for the longest wait for a crash report (minutes), enough kinds of hit
# for one that misbehaves in many places, and fewer processes when all of them do. Beyond that the oldest is
# forgotten. A kind takes about 250 bytes.
_PROCESSES = 4096
_KINDS = 512
_ALL_KINDS = 16_384

# How far the start of a process, as seen here, may lie from the one that a crash report names.
SAME_START_NS = 2_000_000_000

Kind = tuple[int, int | None]


@dataclass(slots=True)
class _Seen:
    """How many hits of a kind were reported, by what reported them."""

    live: int = 0
    lines: int = 0
    counted: int = 0


@dataclass(slots=True, eq=False)
class _Process:
    pid: int
    started_ns: int | None = None
    last_ns: int = 0
    kinds: OrderedDict[Kind, _Seen] = field(default_factory=OrderedDict)
    reported: bool = False

    def seen(self, kind: Kind) -> _Seen:
        seen = self.kinds.get(kind)
        if seen is None:
            if len(self.kinds) >= _KINDS:
                self.kinds.popitem(last=False)
            seen = self.kinds[kind] = _Seen()
        return seen

    def started_at(self, started_ns: int) -> bool:
        if self.started_ns is None:
            return self.last_ns >= started_ns
        return abs(self.started_ns - started_ns) <= SAME_START_NS


class Deduplicator:
    """Remembers what was reported by which source."""

    def __init__(self) -> None:
        """Begin without processes."""
        self._newest: dict[int, _Process] = {}  # by pid
        self._all: deque[_Process] = deque()
        self._kinds = 0  # of all processes

    def started(self, pid: int, time_ns: int) -> None:
        """A process was started under this pid, which may have been another's before."""
        self._new(pid).started_ns = time_ns

    def live(self, pid: int, code: int, subcode: int, time_ns: int) -> None:
        """A hit came to an exception port, and is counted."""
        process = self._newest.get(pid) or self._new(pid)
        process.last_ns = time_ns
        seen = self._seen(process, (code, subcode))
        seen.live += 1
        seen.counted = max(seen.counted, seen.live)

    def line(self, pid: int, code: int, subcode: int | None, time_ns: int) -> bool:
        """Whether a line of the unified log is a hit that was not counted; from now on it is counted."""
        process = self._newest.get(pid) or self._new(pid)
        process.last_ns = time_ns
        seen = self._seen(process, (code, subcode))
        seen.lines += 1
        if seen.lines <= seen.counted:
            return False
        seen.counted += 1
        return True

    def report(self, pid: int, code: int, subcode: int | None, time_ns: int, started_ns: int | None) -> bool:
        """Whether a crash report is of a hit that was not counted; from now on it is counted."""
        if started_ns is None:
            process = self._newest.get(pid)
        else:
            process = next(
                (one for one in reversed(self._all) if one.pid == pid and one.started_at(started_ns)),
                None,
            )
        if process is None:
            process = self._new(pid)
            process.started_ns = started_ns
        known = process.reported or any(kind[0] == code for kind in process.kinds)
        process.reported = True
        process.last_ns = max(process.last_ns, time_ns)
        if not known:
            self._seen(process, (code, subcode)).counted = 1
        return not known

    def _new(self, pid: int) -> _Process:
        process = _Process(pid)
        self._newest[pid] = process
        self._all.append(process)
        if len(self._all) > _PROCESSES:
            self._forget_oldest()
        return process

    def _seen(self, process: _Process, kind: Kind) -> _Seen:
        before = len(process.kinds)
        seen = process.seen(kind)
        self._kinds += len(process.kinds) - before
        if self._kinds > _ALL_KINDS:
            self._forget_quietest()
        return seen

    def _forget_quietest(self) -> None:
        """Forget the kinds of the processes that have had no hit for longest, until half is free."""
        for process in sorted(self._all, key=lambda each: each.last_ns):
            if self._kinds <= _ALL_KINDS // 2:
                break
            self._kinds -= len(process.kinds)
            process.kinds.clear()

    def _forget_oldest(self) -> None:
        oldest = self._all.popleft()
        self._kinds -= len(oldest.kinds)
        if self._newest.get(oldest.pid) is oldest:
            del self._newest[oldest.pid]
