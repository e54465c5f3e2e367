"""Crash reports as a source: new reports in the directories that ReportCrash writes to.

A report comes late, seconds to a minute after its process died, and not always in one piece; it is read again
whenever it has grown, until it is complete. Reports that were there before are history: `excguard scan`
reads those. When ReportCrash moves one to its ``Retired`` directory it is the same report still
(`deduplicator.py`).

Others may write to these directories, so files are looked at off the event loop, one at a time, within a
deadline and with a bounded size; what is not a regular file is not opened.
"""

import asyncio
import functools
import os
import stat
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from excguard.config import Config
from excguard.files import errors
from excguard.files.off_loop import OffLoop
from excguard.knowledge.record import Record
from excguard.pipeline.source import ExternalHit, Reporter
from excguard.sources.report_state import MAX_SIZE, IncompleteReportError

if TYPE_CHECKING:
    from excguard.crash_reports.symbols.symbol import Symbolizer

DEFAULT_DIRECTORIES: Final = ("~/Library/Logs/DiagnosticReports", "/Library/Logs/DiagnosticReports")

SUFFIXES: Final = (".ips", ".crash")
"""Of the names of reports."""
_PATIENCE: Final = 120.0  # seconds after it last grew in which a report can become complete
_POLL_MS: Final = 500  # between two looks at incomplete reports, and for directories that were created
_REMEMBERED: Final = 10_000  # reports
_DEADLINE: Final = 20.0  # seconds to look at one report


def directories(config: Config) -> list[Path]:
    """Where reports appear: those of the configuration, or those of the system."""
    named = config.crash_reports.directories or DEFAULT_DIRECTORIES
    return [Path(os.path.expanduser(directory)) for directory in named]  # noqa: PTH111


ReadReport = Callable[[Path], ExternalHit | None]
"""Reads a report: the hit that it describes, None for another crash.

Raises IncompleteReportError, ValueError for a report that never will be readable, OSError.
"""


class _Look(Record):
    """What a look at a report found.

    Attributes:
        size: None when there is no such file any more.
        hit: what the report describes, if it does.
        incomplete: why it has to be looked at again.
        failure: why it cannot be read; it is not looked at again.
    """

    size: int | None
    hit: ExternalHit | None = None
    incomplete: str = ""
    failure: str = ""


@dataclass(slots=True)
class _Waiting:
    """An incomplete report."""

    size: int
    grown: float  # when it last did, by the loop's time
    problem: str


class CrashReportWatcher:
    """Watches directories, those of them that exist."""

    def __init__(self, directories: Iterable[Path], read: ReadReport, report: Reporter) -> None:
        """Remember what is there already.

        Args:
            directories: where reports appear; directories within them are watched too.
            read: reads one report; called on another thread.
            report: receives each guard exception, and each report that never became complete.
        """
        self._directories = [directory for directory in directories if directory.name]
        self._read = read
        self._report = report
        self._waiting: dict[Path, _Waiting] = {}
        # Reports that were dealt with, and those of before with the size that they had then.
        self._done: OrderedDict[Path, int | None] = OrderedDict()
        for path in self._present():
            self._done[path] = _status(path)[0]

    async def run(self) -> None:
        """Watch until cancelled."""
        off_loop = OffLoop(_DEADLINE)
        while True:
            there = await off_loop.call(self._existing)
            if not there:
                await asyncio.sleep(_POLL_MS / 1000)
                continue
            first = True
            async for paths in _changes(there, off_loop):
                await self._examine(paths, off_loop)
                if first:  # what came before the watch was on
                    await self._examine(await off_loop.call(self._present), off_loop)
                    first = False
                if await off_loop.call(self._existing) != there:
                    break

    def look(self, paths: Iterable[Path], now: float) -> None:
        """Look at reports that may be new or have grown, and at the incomplete ones.

        Args:
            paths: files that changed.
            now: seconds of a clock that never goes back.
        """
        for path in self._worth_a_look(paths):
            self._take(path, self._look_at(path), now)

    async def _examine(self, paths: Iterable[Path], off_loop: OffLoop) -> None:
        """As `look`, without keeping the event loop waiting."""
        loop = asyncio.get_running_loop()
        for path in self._worth_a_look(paths):
            try:
                found = await off_loop.call(self._look_at, path)
            except TimeoutError as error:
                found = _Look(0, failure=str(error))
            self._take(path, found, loop.time())

    def _worth_a_look(self, paths: Iterable[Path]) -> list[Path]:
        return [
            path
            for path in {*paths, *self._waiting}
            if path.suffix in SUFFIXES and not path.name.startswith(".")
        ]

    def _look_at(self, path: Path) -> _Look:
        """Look at one report; changes nothing here, for its time may run out."""
        size, regular = _status(path)
        if size is None:
            return _Look(None)
        waiting = self._waiting.get(path)
        if self._is_done(path, size) or (waiting is not None and waiting.size == size):
            return _Look(size)
        if not regular or size > MAX_SIZE:
            return _Look(size, failure=f"larger than {MAX_SIZE} bytes" if regular else "not a regular file")
        return self._read_report(path, size)

    def _read_report(self, path: Path, size: int) -> _Look:
        try:
            return _Look(size, hit=self._read(path))
        except IncompleteReportError as error:
            return _Look(size, incomplete=str(error))
        except OSError as error:
            return _Look(size, incomplete=f"cannot be read: {errors.reason(error)}")
        except (ValueError, RecursionError) as error:
            return _Look(size, failure=str(error))
        except MemoryError:
            return _Look(size, failure="not enough memory to read it")

    def _take(self, path: Path, found: _Look, now: float) -> None:
        """Draw the conclusions of a look."""
        waiting = self._waiting.get(path)
        if found.size is None:  # moved away or deleted; where it was moved to it is found again
            self._waiting.pop(path, None)
        elif self._is_done(path, found.size):
            pass
        elif found.failure:
            self._finish(path)
            self._report.failure("unreadable", f"{path}: {found.failure}")
        elif waiting is not None and waiting.size == found.size:
            if now - waiting.grown >= _PATIENCE:
                self._finish(path)
                self._report.failure("incomplete", f"{path}: {waiting.problem}")
        elif found.incomplete:
            self._waiting[path] = _Waiting(found.size, now, found.incomplete)
        else:
            self._finish(path)
            if found.hit is not None:
                self._report.hit(found.hit)

    def _is_done(self, path: Path, size: int) -> bool:
        return path in self._done and self._done[path] in (None, size)

    def _finish(self, path: Path) -> None:
        self._waiting.pop(path, None)
        self._done[path] = None
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)

    def _existing(self) -> list[Path]:
        return [directory for directory in self._directories if directory.is_dir()]

    def _present(self) -> list[Path]:
        found = []
        for directory in self._directories:
            for parent, _, names in os.walk(directory):
                found += [Path(parent, name) for name in names]
        return found


class CrashReportSource:
    """Reports of programs that a guard killed."""

    name: ClassVar[str] = "crash_report"
    one_per_process: ClassVar[bool] = True

    def __init__(self, symbolizer: "Symbolizer | None" = None) -> None:
        """Name frames by ``symbolizer``; None: they have the names that ReportCrash found."""
        self._read_report = functools.partial(_read_report, symbolizer=symbolizer)

    def enabled(self, config: Config) -> bool:
        """Whether the configuration asks for it."""
        return config.crash_reports.enabled

    def processes(self, config: Config) -> tuple[str, ...]:
        """Patterns of the names of processes that count although no target started them."""
        return config.crash_reports.processes

    def revision(self, config: Config) -> object:
        """The directories that are watched."""
        return config.crash_reports.directories

    async def follow(self, config: Config, report: Reporter) -> None:
        """Watch until cancelled."""
        watcher = await OffLoop(_DEADLINE).call(
            CrashReportWatcher, directories(config), self._read_report, report
        )
        await watcher.run()


def _read_report(path: Path, *, symbolizer: "Symbolizer | None") -> ExternalHit | None:
    from excguard.sources import report_file  # noqa: PLC0415 - and all of crash_reports: only with a report

    return report_file.read(path, symbolizer)


async def _changes(directories: list[Path], off_loop: OffLoop) -> AsyncIterator[list[Path]]:
    """The files that have changed, from time to time none."""
    # With what it brings along it is slow to import, and seldom needed.
    watchfiles = await off_loop.call(import_module, "watchfiles")
    async for changes in watchfiles.awatch(
        *directories,
        watch_filter=None,
        debounce=_POLL_MS,
        step=50,
        rust_timeout=_POLL_MS,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    ):
        yield [Path(path) for _, path in changes]


def _status(path: Path) -> tuple[int | None, bool]:
    """The size of a file, None when there is none, and whether it is a regular one and not a link."""
    try:
        status = path.lstat()
    except OSError:
        return None, False
    return status.st_size, stat.S_ISREG(status.st_mode)
