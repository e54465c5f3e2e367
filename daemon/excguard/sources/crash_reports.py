"""Crash reports as a source: the folders that ReportCrash writes to are watched for new ones.

A report comes late, seconds to a minute after its process died, and not always in one piece; it is read again
whenever it has grown, until it is whole. Reports that were there before are history: `excguard scan` reads
those. When ReportCrash moves one to its ``Retired`` folder it is the same report still (`once.py`).
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from excguard.pipeline.hit import Source
from excguard.sources.external_hit import OnFailure, OnSighting, Sighting

DEFAULT_FOLDERS: Final = ("~/Library/Logs/DiagnosticReports", "/Library/Logs/DiagnosticReports")

_SUFFIXES = (".ips", ".crash")
# A report that has not become whole so many seconds after it last grew never will.
_PATIENCE = 120.0
# Reports have some megabytes at most.
_LARGEST = 64 << 20
# How often (ms) to look at reports that are not whole yet, and for folders that have come into being.
_LOOK_AGAIN_MS = 500
_FORGET_AFTER = 10_000  # reports


class IncompleteReportError(ValueError):
    """The report is not whole, or not yet."""


# Reads a report: the hit that it tells of, None when it tells of none. Raises IncompleteReportError.
ReadReport = Callable[[Path], Sighting | None]


@dataclass(slots=True)
class _Waiting:
    """A report that is not whole yet."""

    size: int
    grown: float  # when it last did, by the loop's time
    problem: str


class CrashReports:
    """Watches folders, whichever of them are there."""

    def __init__(
        self,
        folders: Iterable[Path],
        read: ReadReport,
        on_sighting: OnSighting,
        on_failure: OnFailure,
    ) -> None:
        """Remember what is there already.

        Args:
            folders: where reports appear; folders within them are watched too.
            read: reads one report.
            on_sighting: told of each guard exception.
            on_failure: told of each report that never became whole.
        """
        self._folders = [folder for folder in folders if folder.name]
        self._read = read
        self._on_sighting = on_sighting
        self._on_failure = on_failure
        self._waiting: dict[Path, _Waiting] = {}
        # Reports that were dealt with, and those of before with the size that they had then.
        self._done: OrderedDict[Path, int | None] = OrderedDict()
        for path in self._present():
            self._done[path] = _size(path)

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            there = [folder for folder in self._folders if folder.is_dir()]
            if not there:
                await asyncio.sleep(_LOOK_AGAIN_MS / 1000)
                continue
            # What came while nobody watched.
            self.look(self._present(), loop.time())
            async for paths in _changes(there):
                self.look(paths, loop.time())
                if [folder for folder in self._folders if folder.is_dir()] != there:
                    break

    def look(self, paths: Iterable[Path], now: float) -> None:
        """Look at reports that may be new or have grown, and at those that were not whole.

        Args:
            paths: files that changed.
            now: seconds of a clock that never goes back.
        """
        for path in {*paths, *self._waiting}:
            if path.suffix in _SUFFIXES and not path.name.startswith("."):
                self._look_at(path, now)

    def _look_at(self, path: Path, now: float) -> None:
        size = _size(path)
        waiting = self._waiting.get(path)
        if size is None:  # moved away or deleted; where it was moved to it is found again
            self._waiting.pop(path, None)
            return
        if path in self._done and self._done[path] in (None, size):
            return
        if waiting is None or waiting.size != size:
            try:
                sighting = self._read(path) if size <= _LARGEST else None
            except (IncompleteReportError, OSError) as error:
                self._waiting[path] = _Waiting(size, now, str(error))
                return
            self._finish(path)
            if sighting is not None:
                self._on_sighting(sighting)
        elif now - waiting.grown >= _PATIENCE:
            self._finish(path)
            self._on_failure(Source.CRASH_REPORT, "incomplete", f"{path}: {waiting.problem}")

    def _finish(self, path: Path) -> None:
        self._waiting.pop(path, None)
        self._done[path] = None
        if len(self._done) > _FORGET_AFTER:
            self._done.popitem(last=False)

    def _present(self) -> list[Path]:
        found = []
        for folder in self._folders:
            for parent, _, names in os.walk(folder):
                found += [Path(parent, name) for name in names]
        return found


async def _changes(folders: list[Path]) -> AsyncIterator[list[Path]]:
    """The files that have changed, from time to time none."""
    import watchfiles  # noqa: PLC0415 - with what it brings along it is slow to import, and seldom needed

    async for changes in watchfiles.awatch(
        *folders,
        watch_filter=None,
        debounce=_LOOK_AGAIN_MS,
        step=50,
        rust_timeout=_LOOK_AGAIN_MS,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    ):
        yield [Path(path) for _, path in changes]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
