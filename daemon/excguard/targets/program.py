"""One start of a target's program: how its hits are delivered, and the processes that it consists of."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from excguard.config import Delivery
from excguard.decoding.site import Place
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.mach import processes
from excguard.mach.errors import symbolic_name
from excguard.mach.rendezvous import Image, InsertionReport
from excguard.targets.delivery import DELIVER, Plan
from excguard.targets.visibility import Circumstances

_MAX_PROCESSES: Final = 10_000  # that are remembered by path and images, the latest ones
_MAX_IMAGES: Final = 5_000  # of one process
_MAX_ALL_IMAGES: Final = 200_000  # of all of them
_MAX_PLACES: Final = 4_096  # that are kept until the next report
_MAX_UNSEEN: Final = 20  # paths that are kept of programs without the library
_MAX_WAITS: Final = 10_000  # reports that are waited for
# So many looks in a row have to find a process without the library before that counts: it may be starting.
_PATIENCE: Final = 2
FIRST_LOOK: Final = 0.1
"""Seconds until the first look at the processes of a program."""


@dataclass
class _Process:
    """A process of the program, as it was last reported or seen.

    Attributes:
        path: the file that it runs.
        name: the name of that file, links followed; empty until the library has reported.
        reported: whether the library in it has reported, for this file.
        looks: how often it was seen since.
        flags: its ``task_exc_guard`` flags; None when it has not reported them.
        failure: why the library could not set them; or empty.
        images: by address.
        seen_ns: when it was last reported or seen, nanoseconds since the epoch.
    """

    path: str
    name: str = ""
    reported: bool = False
    looks: int = 0
    flags: GuardBehavior | None = None
    failure: str = ""
    images: dict[int, Image] = field(default_factory=dict)
    seen_ns: int = field(default_factory=time.time_ns)


class Program:
    """A program and its descendants. Reports come on another thread than everything else.

    Attributes:
        plan: how its hits are delivered.
        token: identifies it in reports of the inserted library.
        pid: its first process; 0 before it is started.
        inserted: whether it was started with the variables that insert the library.
        ended: whether that has ended, so that a report that has not come will not come.
        ended_with_library: whether it was ended by the signal with which dyld ends programs whose inserted
            library it cannot load, before the library had reported.
        wait_for_reports: returns when the reports that were sent until now have been taken, or soon after.
    """

    def __init__(self, plan: Plan) -> None:
        """A program that is to be started so."""
        self.plan = plan
        self.token = int.from_bytes(os.urandom(8))
        self.pid = 0
        self.inserted = False
        self.ended = False
        self.ended_with_library = False
        self.wait_for_reports: Callable[[], None] = lambda: None
        self._name = _name(plan.executable.path)
        self._lock = threading.Lock()
        self._waited: set[tuple[int, int]] = set()
        self._places: dict[tuple[int, int], Place | None] = {}
        self._image_count = 0
        self._processes: dict[int, _Process] = {}
        self._registered: str | None = None
        self._unseen: dict[str, None] = {}
        self._longest_delay = 0.0  # between two looks

    # ---- what is reported, on the thread of the rendezvous server ----

    def take(self, report: InsertionReport) -> None:
        """Take note of a report of the inserted library."""
        pid = report.sender.pid
        with self._lock:
            if report.start:
                process = self._remember(
                    pid,
                    _Process(
                        report.images[0].path,
                        name=_name(report.images[0].path),
                        reported=True,
                        flags=GuardBehavior(report.flags_after & 0xFF),
                        failure=symbolic_name(report.result) if report.result else "",
                    ),
                )
            else:
                process = self._processes.get(pid) or self._remember(pid, _Process(processes.path(pid)))
                process.seen_ns = time.time_ns()
            before = len(process.images)
            room = min(_MAX_IMAGES - before, _MAX_ALL_IMAGES - self._image_count)
            process.images |= {image.address: image for image in report.images[: max(room, 0)]}
            self._image_count += len(process.images) - before
            self._places.clear()

    def exited(self, number: int | None) -> None:
        """Its first process has ended, by signal ``number`` if that is not None."""
        self.ended = True
        if number == signal.SIGABRT and self.inserted:
            # dyld ends programs with the reason OS_REASON_DYLD, whose signal this is (dyld-1378, `halt`).
            self._wait(self.pid, 0)
            self.ended_with_library = not self.confirmed

    def registered(self, error: str) -> None:
        """The program has registered its exception port itself; ``error`` when it could not."""
        with self._lock:
            self._registered = error

    def _remember(self, pid: int, process: _Process) -> _Process:
        gone = [self._processes.pop(pid)] if pid in self._processes else []
        self._processes[pid] = process
        while len(self._processes) > _MAX_PROCESSES:
            gone.append(self._processes.pop(next(iter(self._processes))))
        self._image_count -= sum(len(one.images) for one in gone)
        return process

    # ---- what is asked ----

    def path_of(self, pid: int) -> str:
        """The file that a process runs, or ran when it was last seen; empty when that is not known."""
        self._wait(pid, 0)
        with self._lock:
            if pid in self._processes:
                return self._processes[pid].path
        if pid == self.pid:
            return str(self.plan.executable.path)
        if path := processes.path(pid):
            with self._lock:
                self._remember(pid, _Process(path))
        return path

    def name_of(self, pid: int) -> str:
        """The file name of the program of a process that the library has reported; else that of the first.

        Whether a process without the library can still be asked for its path differs from run to run, and
        this name stands for places.
        """
        self._wait(pid, 0)
        with self._lock:
            process = self._processes.get(pid)
            return (process.name if process is not None else "") or self._name

    def place(self, pid: int, addresses: Sequence[int]) -> Place | None:
        """See `ProcessNames`. The shared cache's images are not reported; they are the system's."""
        places = [place for address in addresses if (place := self._place(pid, address)) is not None]
        return next((place for place in places if not place.in_system), places[0] if places else None)

    def _place(self, pid: int, address: int) -> Place | None:
        key = (pid, address)
        with self._lock:
            if key in self._places:
                return self._places[key]
        place = self._found_place(pid, address)
        with self._lock:
            if len(self._places) >= _MAX_PLACES:
                self._places.clear()
            self._places[key] = place
        return place

    def _found_place(self, pid: int, address: int) -> Place | None:
        found = self._images_at(pid, address)
        if not found:
            self._wait(pid, address)
            found = self._images_at(pid, address)
        places = {Place(image.path, image.uuid, address - image.address) for _, image in found}
        paths = {path for path, _ in found}
        if len(paths) == 1:
            with self._lock:
                if pid not in self._processes:
                    self._remember(pid, _Process(paths.pop(), reported=True))
        return places.pop() if len(places) == 1 else None

    def _images_at(self, pid: int, address: int) -> list[tuple[str, Image]]:
        """The images of a process that contain an address, each with the file that the process runs.

        A child of fork has the images of its parent, and reports nothing: its parent is one of those that
        have.
        """
        with self._lock:
            process = self._processes.get(pid)
            if process is not None and process.flags is not None:
                candidates = [process]
            else:
                path = process.path if process is not None else ""
                candidates = [
                    other
                    for other in self._processes.values()
                    if other.flags is not None and path in {"", other.path}
                ]
            return [
                (one.path, image)
                for one in candidates
                for image in one.images.values()
                if image.address <= address < image.address + image.size
            ]

    def _wait(self, pid: int, address: int) -> None:
        """Wait for what a process has sent before its hit, unless that is known, or was waited for before."""
        if self.plan.delivery is not Delivery.INSERT or (pid, address) in self._waited:
            return
        with self._lock:
            process = self._processes.get(pid)
            if not address and process is not None and process.flags is not None:
                return
        if len(self._waited) < _MAX_WAITS:
            self._waited.add((pid, address))
            self.wait_for_reports()

    @property
    def confirmed(self) -> bool:
        """Whether what was planned for its flags is known to have happened."""
        with self._lock:
            return self._first.flags is not None or self._registered == ""

    @property
    def _first(self) -> _Process:
        return self._processes.get(self.pid) or _Process("")

    def circumstances(self) -> Circumstances:
        """What its visibility depends on, as far as it is known by now; that no source is read is assumed.

        While it runs, a library that was inserted without a doubt is taken to have set the flags.
        """
        plan = self.plan
        circumstances = Circumstances(
            plan.flags, undelivered=plan.undelivered, refused=plan.refused, fix=plan.fix
        )
        with self._lock:
            if plan.delivery is Delivery.INSERT:
                if (flags := self._first.flags) is not None:
                    failure = self._first.failure
                    reason = f"the kernel refused to set them: {failure}" if failure else ""
                    return circumstances.replace(flags=flags, undelivered=reason)
                if not self.ended and not plan.undelivered:
                    return circumstances.replace(flags=plan.flags | DELIVER)
                reason = f": {plan.undelivered}" if plan.undelivered else ""
                return circumstances.replace(undelivered=f"the inserted library has not reported{reason}")
            if self._registered == "":
                return circumstances.replace(flags=plan.flags | DELIVER)
            if self._registered:
                reason = f"the program could not set them: {self._registered}"
                return circumstances.replace(undelivered=reason)
        return circumstances

    # ---- its processes ----

    def look(self, delay: float) -> None:
        """Find processes that were started since the last time, and those that run without the library.

        Args:
            delay: seconds since the last look.
        """
        self._longest_delay = max(self._longest_delay, delay)
        with self._lock:
            known = {pid: process.path for pid, process in self._processes.items()}
        waiting = [pid for pid in {self.pid, *known} if pid]
        paths: dict[int, str] = {}
        parents: dict[int, int] = {}
        while waiting:
            pid = waiting.pop()
            if pid in paths:
                continue
            paths[pid] = processes.path(pid)
            for child in processes.children(pid) if paths[pid] else ():
                parents[child] = pid
                waiting.append(child)
        with self._lock:
            for pid, path in paths.items():
                if path:
                    self._seen(pid, path, paths.get(parents.get(pid, 0), ""))

    def _seen(self, pid: int, path: str, parent: str) -> None:
        """A process runs a file; ``parent`` is the file that its parent runs."""
        process = self._processes.get(pid)
        if process is not None and (process.path == path or os.path.realpath(process.path) == path):
            process.looks += 1
            process.seen_ns = time.time_ns()
        else:
            # A new process, or one that has put another program in its place. A fork without an exec has the
            # flags of its parent, and nothing to report.
            forked = process is None and path == parent
            process = self._remember(pid, _Process(path, reported=forked))
        if not process.reported and process.looks >= _PATIENCE and len(self._unseen) < _MAX_UNSEEN:
            self._unseen[path] = None

    @property
    def last_seen(self) -> dict[int, int]:
        """Its processes: for each pid when that was last known to be one, nanoseconds since the epoch."""
        with self._lock:
            return {pid: process.seen_ns for pid, process in self._processes.items()}

    @property
    def unseen(self) -> list[str]:
        """The files of descendants that were found running without the library that they should have."""
        plan = self.plan
        if not plan.children_watched:
            return []
        own = os.path.realpath(plan.executable.path)
        return [path for path in self._unseen if path != own]

    @property
    def descendants(self) -> int:
        """How many other processes of the program have been seen."""
        with self._lock:
            return len(self._processes.keys() - {self.pid})

    @property
    def unnoticed_below(self) -> float:
        """Seconds a descendant without the library must have run to be noticed; 0 where it need not be."""
        return (_PATIENCE + 1) * max(self._longest_delay, FIRST_LOOK) if self.plan.children_watched else 0.0

    def left(self, group: int) -> int:
        """How many processes still run, beside the guardian of its process group."""
        with self._lock:
            known = {pid: process.path for pid, process in self._processes.items()}
        alive = {pid for pid, path in known.items() if pid != self.pid and processes.path(pid) == path}
        return len((alive | set(processes.group(group))) - {group, self.pid})


def _name(path: str | PurePath) -> str:
    return os.path.basename(os.path.realpath(path))  # noqa: PTH119 - of any bytes
