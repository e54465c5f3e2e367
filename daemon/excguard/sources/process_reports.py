"""The crash reports of some processes, found among those of all programs.

A pid is used again, so a report counts as a process's only when the times agree:

* a process that excguard started began when the report says, within `SAME_START_NS`;
* of its descendants only the moment is known at which each was last seen. A report is of it when it was
  started between the start of the run and that moment, by a process of the run or (after the end of its
  parent) by launchd. Another process that has the pid since was started later;
* a process that nothing has seen is one of the run when its parent is one.
"""

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from excguard.files import bounded
from excguard.sources.crash_reports import SUFFIXES
from excguard.sources.deduplicator import SAME_START_NS
from excguard.sources.own_process import OwnProcess
from excguard.sources.report_file import Identity, identify
from excguard.sources.report_state import MAX_SIZE

_MAX_FILES: Final = 100_000
"""Files in the directories that are looked at."""
_LAUNCHD: Final = 1
_UNKNOWN: Final = 0


class FoundReport(NamedTuple):
    """A report of one of the processes.

    Attributes:
        path: where it lies.
        data: all that it consists of at present.
        identity: of which process.
    """

    path: Path
    data: bytes
    identity: Identity


class ProcessReports:
    """Looks for reports in directories, again and again while they may still come."""

    def __init__(self, directories: Iterable[Path], *, since_ns: int, parent: int) -> None:
        """Look at nothing yet.

        Args:
            directories: where reports appear, also in directories within them.
            since_ns: when the run began; older files are of something else.
            parent: the process that started the first process of the run.
        """
        self._directories = list(directories)
        self._since_ns = since_ns - SAME_START_NS
        self._parent = parent
        # By path: the size and time of change that a file had, and of which process it is.
        self._known: dict[Path, tuple[tuple[int, int], Identity | None]] = {}
        self._given: dict[Path, tuple[int, int]] = {}
        self._descendants: dict[int, int] = {}  # that only reports have shown: when they were started

    @property
    def exist(self) -> bool:
        """Whether one of the directories exists, so that a report can come."""
        return any(directory.is_dir() for directory in self._directories)

    def look(self, processes: Iterable[OwnProcess]) -> list[FoundReport]:
        """The reports of ``processes`` that are new, or have grown since they were given.

        What cannot be read is left out; it is looked at again the next time.
        """
        files = {path: mark for path, mark in self._files() if self._identified(path, mark)}
        known = {path: found for path in files if (found := self._known[path][1]) is not None}
        own = {process.pid: process for process in processes}
        count = -1
        while count != len(self._descendants):  # a child of a child is found after the child
            count = len(self._descendants)
            for identity in known.values():
                if identity.started_ns is not None and self._is_child(identity, own):
                    self._descendants.setdefault(identity.pid, identity.started_ns)
        reports = []
        for path, identity in sorted(known.items()):
            if self._given.get(path) == files[path] or not self._belongs(identity, own):
                continue
            if (data := _read(path)) is not None:
                self._given[path] = files[path]
                reports.append(FoundReport(path, data, identify(data)))
        return reports

    def _identified(self, path: Path, mark: tuple[int, int]) -> bool:
        """Whether it is known of which process a file is."""
        before = self._known.get(path)
        if before is None or before[0] != mark:
            data = _read(path)
            if data is None:
                return False
            identity = identify(data)
            self._known[path] = mark, identity if identity.pid else None
        return True

    def _is_child(self, identity: Identity, own: Collection[int]) -> bool:
        """Whether a process that may not be known is one by its parent."""
        parent = identity.parent_pid
        return (identity.started_ns or 0) >= self._since_ns and (parent in own or parent in self._descendants)

    def _belongs(self, identity: Identity, own: dict[int, OwnProcess]) -> bool:
        process = own.get(identity.pid)
        started_ns = identity.started_ns
        if started_ns is None:  # all that is left is that it ended while the process was there
            ended_ns = identity.ended_ns or 0
            return process is not None and self._since_ns <= ended_ns <= process.seen_ns + SAME_START_NS
        if process is not None and process.started_ns is not None:
            return abs(process.started_ns - started_ns) <= SAME_START_NS
        if self._is_child(identity, own):
            return True
        if process is None or identity.parent_pid not in (_LAUNCHD, _UNKNOWN, self._parent):
            return False
        return self._since_ns <= started_ns <= process.seen_ns + SAME_START_NS

    def _files(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        """The reports that were written since the run began, each with its size and time of change."""
        left = _MAX_FILES
        for directory in self._directories:
            for parent, _, names in os.walk(directory):
                for name in names[:left]:
                    path = Path(parent, name)
                    if path.suffix not in SUFFIXES or name.startswith("."):
                        continue
                    try:
                        status = path.lstat()
                    except OSError:
                        continue
                    if (
                        stat.S_ISREG(status.st_mode)
                        and status.st_mtime_ns >= self._since_ns
                        and status.st_size <= MAX_SIZE
                    ):
                        yield path, (status.st_size, status.st_mtime_ns)
                left -= len(names)
                if left <= 0:
                    return


def _read(path: Path) -> bytes | None:
    try:
        return bounded.read(path, MAX_SIZE, follow=False)
    except OSError:
        return None
